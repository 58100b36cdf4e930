"""How a layer tells which slide it shows."""

# Where a layer's metadata keep the slide that it shows.
SLIDE_KEY = "cytosae_slide"
