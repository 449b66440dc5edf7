"""A usual training loop of PyTorch, in a process of its own that is told what to time.

Takes a file of NumPy's with `images`, uint8 `(size, height, width, channels)`, `labels`, `(size,)`, `mean` and
`deviation`, `(channels,)`. Prints the number of the network's parameters. Then, for each line
`BATCH_SIZE STEPS` that it reads, trains for that many steps and prints the seconds they took.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Network(nn.Module):
    """A small convolutional network, for images of shape `(channels, height, width)`."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.fc1 = nn.Linear(64 * -(-height // 4) * -(-width // 4), 128)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, `(batch, classes)`, of normalised images, `(batch, channels, height, width)`."""
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(self.dropout(x))


def read(path: str) -> TensorDataset:
    """Return the examples, normalised once and for all."""
    with np.load(path, allow_pickle=False) as data:
        images = ((data["images"] - data["mean"]) / data["deviation"]).astype(np.float32)
        labels = data["labels"].astype(np.int64)
    return TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels))


def network(examples: TensorDataset) -> Network:
    """Return a new network for these examples, on the graphics card where there is one."""
    images, labels = examples.tensors
    made = Network(images.shape[1:], classes=int(labels.max()) + 1)
    return made.to("cuda" if torch.cuda.is_available() else "cpu")


def trainer(examples: TensorDataset, batch_size: int) -> Callable[[int], float]:
    """Return a function that trains for a number of steps and returns the mean loss."""
    model = network(examples)
    device = model.fc1.weight.device
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    batches = _forever(DataLoader(examples, batch_size=batch_size, shuffle=True, drop_last=True))

    def train(steps: int) -> float:
        model.train()
        running_loss = 0.0
        for _ in range(steps):
            inputs, labels = next(batches)
            inputs, labels = inputs.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        return running_loss / steps

    return train


def _forever(loader: DataLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        yield from loader


def main() -> None:
    """Answer each request on standard input with a line on standard output."""
    torch.manual_seed(0)
    examples = read(sys.argv[1])
    trainers = functools.cache(functools.partial(trainer, examples))
    print(sum(p.numel() for p in network(examples).parameters()), flush=True)
    for line in sys.stdin:
        batch_size, steps = (int(word) for word in line.split())
        train = trainers(batch_size)
        start = time.perf_counter()
        train(steps)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
