"""Random blocks of networks of sequences: recurrent ones, attention, normalizations, einsum."""

from __future__ import annotations

import keras
from keras import layers, ops

STEPS = 5


class SequenceBlocks:
    """Draws blocks that take a tensor `(batch, STEPS, width)`. `Builder` has the other half."""

    def sequence(self):
        """The inputs of a network of sequences, and the sequence."""
        if self.one_of(True, False):
            inputs = keras.Input((STEPS, int(self.random.integers(4, 8))))
            return inputs, inputs
        words = keras.Input((STEPS,), dtype="int32")
        return words, layers.Embedding(11, int(self.random.integers(4, 9)), mask_zero=bool(self.one_of(True, False)))(
            words
        )

    def sequence_block(self, x):
        kinds = ("recurrent", "recurrent", "bidirectional", "attention", "transformer", "normalized", "conv", "einsum")
        return getattr(self, f"_{self.one_of(*kinds, 'wrapped', 'operations', 'nested', 'states')}_block")(x)

    def pooled(self, x):
        """The sequence as one vector."""
        kind = self.one_of("last", "mean", "pool", "item", "flatten", "flip")
        if kind == "last":
            return self._recurrent(int(self.random.integers(4, 8)), return_sequences=False)(x)
        if kind == "mean":
            return ops.mean(x, axis=1)
        if kind == "pool":
            return self.one_of(layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)()(x)
        if kind == "item":
            return x[:, -1]
        if kind == "flip":
            return ops.max(ops.transpose(x, (0, 2, 1)), axis=-1)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2]))

    def _recurrent(self, units, **options):
        kind = self.one_of(layers.SimpleRNN, layers.LSTM, layers.GRU)
        options = {"return_sequences": True, "use_bias": bool(self.one_of(True, True, False))} | options
        if kind is layers.GRU:
            options["reset_after"] = bool(self.one_of(True, False))
        return kind(units, dropout=float(self.one_of(0.0, 0.2)), activation=self.one_of("tanh", "relu"), **options)

    def _recurrent_block(self, x):
        return self._recurrent(int(self.random.integers(4, 8)), go_backwards=bool(self.one_of(True, False)))(x)

    def _states_block(self, x):
        """The states of one layer are where another one starts."""
        first = self._recurrent(5, return_state=True)
        y, *states = first(x)
        options = {"reset_after": first.reset_after} if isinstance(first, layers.GRU) else {}
        return type(first)(5, return_sequences=True, **options)(y, initial_state=states)

    def _bidirectional_block(self, x):
        return layers.Bidirectional(self._recurrent(5), merge_mode=self.one_of("concat", "sum", "mul", "ave"))(x)

    def _attention(self):
        options = {"value_dim": 2} if self.one_of(True, False) else {}
        if self.one_of(True, False, False):
            options["output_shape"] = 5
        return layers.MultiHeadAttention(
            int(self.random.integers(2, 5)), 3, use_bias=bool(self.one_of(True, False)), dropout=0.1, **options
        )

    def _attention_block(self, x):
        return self._attention()(x, x, use_causal_mask=bool(self.one_of(True, False)))

    def _transformer_block(self, x):
        width = x.shape[-1]
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(3, 2)(y, y)
        y = self.one_of(layers.LayerNormalization, layers.RMSNormalization)()(x)
        y = layers.Dense(2 * width, activation="gelu")(y)
        return layers.Add()([x, layers.Dropout(0.1)(layers.Dense(width)(y))])

    def _normalized_block(self, x):
        x = layers.Dense(8, self.activation())(x)
        kind = self.one_of("layer", "group", "unit", "batch", "steps")
        if kind == "steps" and keras.backend.backend() == "torch":
            kind = "layer"  # Keras 3.15 on torch normalizes the last axes only
        if kind == "group":
            return layers.GroupNormalization(int(self.one_of(2, 4, 8)))(x)
        if kind == "unit":
            return layers.UnitNormalization()(x)
        if kind == "steps":
            return layers.LayerNormalization(axis=1)(x)
        return (layers.LayerNormalization if kind == "layer" else layers.BatchNormalization)()(x)

    def _conv_block(self, x):
        x = x * 1.0  # without the mask, which a convolution would warn of
        if self.one_of(True, False):
            groups = int(self.one_of(2, 4))
            return layers.Conv1D(8, 3, padding="same", groups=groups, activation="relu")(layers.Dense(8)(x))
        return layers.Conv1D(6, 2, padding=self.one_of("causal", "same"), activation=self.activation())(x)

    def _einsum_block(self, x):
        equation, shape, bias = self.one_of(
            ("abc,cd->abd", (STEPS, 6), "d"),
            ("...x,xy->...y", 6, "y"),
            ("...x,xy->...y", 6, None),
            ("abc,bcd->abd", (STEPS, 6), "bd"),
            ("abc,bd->adc", (STEPS, x.shape[-1]), "c"),
            ("abc,cd->abd", (STEPS, 5), "bd"),
            ("abc,cb->abc", x.shape[1:], "bc"),
        )
        x = x * 1.0  # without the mask, which the layer would warn of
        return layers.EinsumDense(equation, output_shape=shape, bias_axes=bias, activation=self.activation())(x)

    def _wrapped_block(self, x):
        return layers.TimeDistributed(layers.Dense(6, self.activation(), use_bias=bool(self.one_of(True, False))))(x)

    def _operations_block(self, x):
        y = ops.stack([x, ops.relu(x)], axis=2)
        y = ops.concatenate([ops.sum(y, axis=2), ops.clip(x / 2.0, -1.0, 1.0)], axis=-1)
        return ops.squeeze(ops.expand_dims(y, 1), 1) if self.one_of(True, False) else ops.abs(y)

    def _nested_block(self, x):
        x = x * 1.0  # without the mask, which a sequential model would warn of
        stack = [layers.Dense(7, self.activation()), self._recurrent(5), layers.LayerNormalization(), layers.Dense(6)]
        kept = [layer for layer in stack if self.random.random() < 0.7] or stack[:1]
        return keras.Sequential([keras.Input(x.shape[1:]), *kept])(x)
