"""A small CLIP and a small CLAP for Trichord's generated world, as `transformers` folders."""
