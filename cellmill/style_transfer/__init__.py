"""Making volumes of electron microscopy look like others: volumes, networks, training, applying."""
