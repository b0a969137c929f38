"""Every drawing, once: nodes save them and the viewer shows them."""
