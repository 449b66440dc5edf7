"""Models of the matrix that take sequences of any length, but for some."""

import keras
from keras import layers, ops

from tests.matrix.cases import Case, Takes, case

STEPS = Takes((None, 4))
TOKENS = Takes((None,), "int32", 1, 20)
PADDED = Takes((None,), "int32", 1, 20, padded=True)
FREE = {"lengths": (6, 11)}


def classified(*body, shape=(None, 4)):
    return keras.Sequential([keras.Input(shape), *body, layers.Dense(3, "softmax")])


def of_tokens(*body, masked=False):
    embedding = layers.Embedding(20, 6, mask_zero=masked)
    return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *body, layers.Dense(3, "softmax")])


def conv1d():
    inputs = keras.Input((12, 4))
    x = layers.SpatialDropout1D(0.5)(layers.Conv1D(4, 3, padding="causal", activation="relu")(inputs))
    ways = [
        layers.GlobalMaxPooling1D()(layers.Conv1DTranspose(2, 2, strides=2)(layers.MaxPooling1D()(x))),
        layers.GlobalAveragePooling1D()(layers.ZeroPadding1D()(layers.AveragePooling1D(2)(x))),
        layers.GlobalMaxPooling1D()(layers.UpSampling1D()(layers.Cropping1D(2)(x))),
        layers.GlobalMaxPooling1D()(layers.SeparableConv1D(3, 3)(layers.DepthwiseConv1D(3)(x))),
        layers.Flatten()(layers.AdaptiveAveragePooling1D(2)(x)),
        layers.Flatten()(layers.AdaptiveMaxPooling1D(2)(x)),
    ]
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Concatenate()(ways)))


def conv1d_free():
    return classified(
        layers.Conv1D(5, 3, padding="same", activation="relu"),
        layers.MaxPooling1D(2),
        layers.Conv1D(4, 2, dilation_rate=2, padding="causal"),
        layers.GlobalAveragePooling1D(),
    )


def lstm():
    return classified(layers.LSTM(5, dropout=0.3, recurrent_dropout=0.3), shape=(6, 4))


def lstm_free():
    return classified(layers.LSTM(5, return_sequences=True), layers.LSTM(4))


def bigru():
    return classified(layers.Bidirectional(layers.GRU(4, dropout=0.2)))


def simple_rnn():
    return classified(layers.SimpleRNN(5, go_backwards=True, return_sequences=True), layers.SimpleRNN(3))


def masked_lstm():
    return of_tokens(layers.LSTM(5), masked=True)


def masked_tagger():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 6, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    return keras.Model(inputs, layers.TimeDistributed(layers.Dense(5, "softmax"))(x))


def masking():
    return classified(layers.Masking(0.0), layers.GRU(5, recurrent_dropout=0.2, reset_after=False))


def cells():
    cell = layers.StackedRNNCells([layers.LSTMCell(5), layers.GRUCell(4), layers.SimpleRNNCell(3)])
    return classified(layers.RNN(cell))


def seq2seq():
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    embedding = layers.Embedding(20, 6, mask_zero=True)
    _, *states = layers.LSTM(5, return_state=True)(embedding(source))
    x = layers.LSTM(5, return_sequences=True)(embedding(target), initial_state=states)
    return keras.Model([source, target], layers.Dense(20, "softmax")(x))


def convlstm():
    inputs = keras.Input((None, 6, 6, 1))
    x = layers.ConvLSTM2D(2, 3, padding="same")(inputs)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(x)))


def convlstm_others():
    inputs = keras.Input((3, 6, 6, 1))
    rows = layers.ConvLSTM1D(2, 3, padding="same")(layers.Reshape((3, 6, 6))(inputs))
    cubes = layers.ConvLSTM3D(2, 3, padding="same")(layers.Reshape((3, 3, 3, 4, 1))(inputs))
    x = layers.Concatenate()([layers.Flatten()(rows), layers.GlobalMaxPooling3D()(cubes)])
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def frames():
    inputs = keras.Input((None, 8, 8, 1))
    body = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten()]
    )
    x = layers.TimeDistributed(body)(inputs)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GRU(4)(x)))


def attention():
    x = inputs = keras.Input((None, 4))
    x = layers.Attention(use_scale=True)([layers.Dense(6)(x), layers.Dense(6)(x)])
    x = layers.AdditiveAttention()([x, layers.Dense(6)(inputs)])
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x)))


def multi_head():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True)(inputs)
    x = layers.MultiHeadAttention(2, 4, dropout=0.2)(x, x, use_causal_mask=True)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x)))


def group_query():
    x = inputs = keras.Input((None, 4))
    x = layers.Dense(8)(x)
    x = layers.GroupQueryAttention(4, 4, 2)(x, x)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalMaxPooling1D()(x)))


def transformer():
    tokens = keras.Input((None,), dtype="int32")
    words = layers.ReversibleEmbedding(20, 8)
    places = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = words(tokens) + layers.Embedding(32, 8)(places)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True)
        x = x + layers.Dense(8)(layers.Dense(16, "gelu")(layers.LayerNormalization()(x)))
    return keras.Model(tokens, layers.Softmax()(words(x, reverse=True)))


def sound():
    inputs = keras.Input((512,))
    mel = layers.MelSpectrogram(
        fft_length=64, sequence_stride=32, num_mel_bins=8, sampling_rate=1000, min_freq=20, max_freq=480
    )(inputs)
    stft = layers.STFTSpectrogram(frame_length=32, frame_step=32, fft_length=32)(layers.Reshape((512, 1))(inputs))
    pooled = [layers.Flatten()(mel), layers.GlobalAveragePooling1D()(stft)]
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Concatenate()(pooled)))


MODELS = {
    "Conv1D": case(conv1d, Takes((12, 4))),
    "Conv1D, any length": case(conv1d_free, STEPS, **FREE),
    "LSTM with dropout": case(lstm, Takes((6, 4))),
    "LSTM, any length": case(lstm_free, STEPS, **FREE),
    "BiGRU, any length": case(bigru, STEPS, **FREE),
    "SimpleRNN, any length": case(simple_rnn, STEPS, **FREE),
    "masked Embedding and LSTM": case(masked_lstm, PADDED, **FREE),
    "tagger: BiLSTM, TimeDistributed": case(masked_tagger, PADDED, **FREE),
    "Masking and GRU": case(masking, Takes((None, 4), padded=True), **FREE),
    "RNN of stacked cells": case(cells, STEPS, **FREE),
    "sequence to sequence": Case(seq2seq, {"source": PADDED, "target": PADDED}, **FREE),
    "ConvLSTM2D, any length": case(convlstm, Takes((None, 6, 6, 1)), lengths=(3, 5)),
    "ConvLSTM1D and ConvLSTM3D": case(convlstm_others, Takes((3, 6, 6, 1))),
    "TimeDistributed CNN, any length": case(frames, Takes((None, 8, 8, 1)), lengths=(3, 5)),
    "Attention and AdditiveAttention": case(attention, STEPS, **FREE),
    "MultiHeadAttention, masked, causal": case(multi_head, PADDED, **FREE),
    "GroupQueryAttention": case(group_query, STEPS, **FREE),
    "transformer": case(transformer, TOKENS, **FREE),
    "spectrograms": case(sound, Takes((512,))),
}
