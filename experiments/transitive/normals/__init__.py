"""Surface normals from photographs: what they are, and a network that tells them."""
