"""The Streamlit viewer: reads the catalog, computes nothing a node could have saved."""
