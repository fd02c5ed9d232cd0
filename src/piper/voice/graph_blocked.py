"""Keeps a graph that ONNX Runtime has optimised in its blocked layout. Knows no voice, no file.

On x86 ONNX Runtime runs convolutions over blocks of 8 or 16 channels, and changes the layout
before and after whatever it has no blocked form of (its NCHWc transformer). Leaky ReLU is such a
thing, and sums of values whose lengths it cannot prove equal, as behind a dilated convolution; so
three passes over memory stand between any two convolutions of the decoder. Both are elementwise
and do not mind the layout: here the changes around them are taken out, and each residual sum
becomes an input of its convolution. A tenth to an eighth of the decoder's time.

Graphs without blocked nodes, as on other processors, are left as they are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

BLOCKED_DOMAIN = "com.microsoft.nchwc"
RESIDUAL_SCOPE = "/resblocks."
"""Sums of nodes with this in their names are of two values of one shape."""


def keep_blocked(model: onnx.ModelProto) -> None:
    """Take needless changes of layout out of a graph, in place."""
    graph = _Graph(model)
    graph.remove_identities()
    graph.move_leaky_relus()
    graph.fuse_residual_sums()
    graph.write()


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.nodes = list(model.graph.node)
        self._index()

    def _index(self) -> None:
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)

    def _replace(self, node: onnx.NodeProto, value: str) -> None:
        """Remove a node; who read its output reads another value."""
        for consumer in self.consumers[node.output[0]]:
            for i, name in enumerate(consumer.input):
                if name == node.output[0]:
                    consumer.input[i] = value
        self.nodes.remove(node)
        self._index()

    def remove_identities(self) -> None:
        """Remove pools of one value; they brought a value into the blocked layout."""
        for node in list(self.nodes):
            if node.op_type == "MaxPool" and node.domain == BLOCKED_DOMAIN:
                [kernel] = (list(a.ints) for a in node.attribute if a.name == "kernel_shape")
                if set(kernel) == {1}:
                    self._replace(node, node.input[0])

    def move_leaky_relus(self) -> None:
        """Let leaky ReLUs between two changes of layout work on blocks."""
        for node in list(self.nodes):
            if node.op_type != "LeakyRelu":
                continue
            before = self.producers.get(node.input[0])
            after = self.consumers[node.output[0]]
            if before is None or before.op_type != "ReorderOutput" or not after:
                continue
            if all(reorder.op_type == "ReorderInput" for reorder in after):
                node.input[0] = before.input[0]
                for reorder in list(after):
                    self._replace(reorder, node.output[0])

    def fuse_residual_sums(self) -> None:
        """Give residual sums to their convolutions, whose fourth input is added to the result."""
        for node in list(self.nodes):
            if node.op_type != "Add" or RESIDUAL_SCOPE not in node.name:
                continue
            scope = node.name.rpartition("/")[0]
            terms = [self._look_through(name) for name in node.input]
            if None in terms or any(r.op_type != "Reshape" for r in self._readers(node)):
                continue
            for term, other in (terms, reversed(terms)):
                conv = self.producers.get(str(term))
                if conv is not None and self._can_add(conv, scope):
                    conv.input.append(str(other))
                    for reshape in self._readers(node):
                        self._replace(reshape, conv.output[0])
                    self.nodes.remove(node)
                    self._index()
                    break

    def _readers(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return list(self.consumers[node.output[0]])

    def _look_through(self, name: str) -> str | None:
        """Return the blocked value that is reshaped to `name`."""
        reshape = self.producers.get(name)
        return reshape.input[0] if reshape is not None and reshape.op_type == "Reshape" else None

    def _can_add(self, conv: onnx.NodeProto, scope: str) -> bool:
        return (
            conv.op_type == "Conv"
            and conv.domain == BLOCKED_DOMAIN
            and conv.name.startswith(f"{scope}/")
            and len(conv.input) == 3
            and len(self._readers(conv)) == 1
            and not any(a.name == "activation" for a in conv.attribute)
        )

    def write(self) -> None:
        """Put the nodes back, without those that nobody reads, each after what it reads."""
        needed = [output.name for output in self.graph.output]
        order: list[onnx.NodeProto] = []
        self._visit(needed, order)
        del self.graph.node[:]
        self.graph.node.extend(order)

    def _visit(self, names: list[str], order: list[onnx.NodeProto]) -> None:
        """Append what makes some values, after what it reads; not recursive, as graphs are deep."""
        done: set[str] = set()
        stack = [(name, False) for name in names]
        while stack:
            name, is_ready = stack.pop()
            node = self.producers.get(name)
            if node is None or node.output[0] in done:
                continue
            if is_ready:
                done.add(node.output[0])
                order.append(node)
            else:
                stack.append((name, True))
                stack.extend((value, False) for value in node.input)
