"""Networks: encoders, heads, LSTM, input normalisation, flat parameters, and the layers that the native core computes.

Imports no other folder of the package.
"""
