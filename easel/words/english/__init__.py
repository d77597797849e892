"""The page's texts in English, a module for each place; ``easel.words.strings`` says them."""
