"""Files that clients upload: plain files in a folder, and an index of them."""
