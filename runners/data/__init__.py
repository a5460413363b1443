"""From files on disk to training crops: phantoms, scanning, preprocessing, the volume store, sampling."""
