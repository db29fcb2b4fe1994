"""Tools around the hydrad daemon: import base models, train and inspect adapters.

Importing and inspecting need only numpy, gguf and tokenizers. Everything under
``hydrad_tools.train`` additionally needs the ``[train]`` extra (PyTorch).
"""
