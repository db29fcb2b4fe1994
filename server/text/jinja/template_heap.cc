#include "server/text/jinja/template_heap.h"

#include "server/base/invalid_argument.h"

namespace hydrad::jinja {

absl::Status Heap::status() const {
  if (steps_ > limits_.steps) return InvalidArgument("takes more than {} steps", limits_.steps);
  if (overflowed_ || live_bytes_ > limits_.memory_bytes) {
    return InvalidArgument("needs more than {} bytes of memory", limits_.memory_bytes);
  }
  return absl::OkStatus();
}

Value Heap::NewText(Text text) {
  const size_t bytes = text.bytes.size() + text.data.size() * sizeof(ByteRange) + sizeof(Text) + 32;
  Charge(bytes);
  return Value::Of(std::shared_ptr<const Text>(new Text(std::move(text)), [this, bytes](const Text* gone) {
    live_bytes_ -= bytes;
    delete gone;
  }));
}

Value Heap::NewText(TextBuilder* builder) {
  overflowed_ |= builder->overflowed();
  return NewText(builder->Take());
}

Value Heap::NewList(std::vector<Value> items, Kind kind) {
  Charge(items.size() * sizeof(Value));
  List* list = New<List>();
  list->items = std::move(items);
  return Value::Of(kind, list);
}

}  // namespace hydrad::jinja
