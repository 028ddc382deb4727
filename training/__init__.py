"""How the weights are made: data set, augmentation, loss, trainer, folds. Start at ``train``."""
