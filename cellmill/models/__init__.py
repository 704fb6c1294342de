"""Models: the card that describes one, where one is fetched from, and how its archive is opened."""
