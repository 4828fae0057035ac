"""Evaluation that carries its protocol: ranks, intervals, reports, comparisons."""
