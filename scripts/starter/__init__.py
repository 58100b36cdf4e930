"""How the starter bundle is made: fields, crops, distillation, sparse autoencoder, metrics."""
