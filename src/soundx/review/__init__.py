"""Answers of people about recordings: kept, asked for, learnt from, and what they tell."""
