"""Fast and Faster R-CNN: pictures, regions, networks, and what they are scored by."""
