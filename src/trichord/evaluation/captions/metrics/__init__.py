"""Caption metrics without Java: BLEU, METEOR, ROUGE-L, CIDEr."""
