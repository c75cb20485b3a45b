"""The paper's tables: pretrained networks carried to detection and to normals."""
