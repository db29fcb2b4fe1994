// What one rendering may use: steps, and the memory of its values.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_HEAP_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_HEAP_H_

#include <absl/status/status.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/chat_template.h"
#include "server/text/jinja/template_value.h"

namespace hydrad::jinja {

// Owns every object of one rendering until its end, so that values may point to each other in any way, and
// counts what is used. What goes beyond a limit is remembered and told by status(), which the evaluator asks
// at every step: operations look at nothing but room() before they take much at once. One thread.
class Heap {
 public:
  explicit Heap(const ChatTemplateLimits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // Takes `count` steps.
  void Step(int64_t count = 1) { steps_ += count; }
  // The limit that is reached, if one is.
  absl::Status status() const;
  bool exhausted() const {
    return overflowed_ || steps_ > limits_.steps || live_bytes_ > limits_.memory_bytes;
  }
  // How many more bytes may be taken.
  size_t room() const { return live_bytes_ > limits_.memory_bytes ? 0 : limits_.memory_bytes - live_bytes_; }
  size_t output_bytes() const { return limits_.output_bytes; }

  // A string, which gives its bytes back when its last value goes. REQUIRES: it goes before the heap.
  Value NewText(Text text);
  Value NewText(std::string_view literal) { return NewText(Text(literal)); }
  // What a builder has put together; beyond the limit where it overflowed.
  Value NewText(TextBuilder* builder);
  TextBuilder Builder() const { return TextBuilder(room() + 1); }

  Value NewList(std::vector<Value> items, Kind kind = Kind::kList);
  Value NewTuple(std::vector<Value> items) { return NewList(std::move(items), Kind::kTuple); }
  // A new object of type T, which lives as long as the heap.
  template <class T, class... Args>
  T* New(Args&&... args) {
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = object.get();
    objects_.push_back(std::move(object));
    Charge(sizeof(T) + 64);
    return raw;
  }
  // Accounts for memory that an object has taken for its elements.
  void Charge(size_t bytes) {
    live_bytes_ += bytes;
    steps_ += static_cast<int64_t>(bytes / 32);
  }

 private:
  const ChatTemplateLimits limits_;
  int64_t steps_ = 0;
  size_t live_bytes_ = 0;
  bool overflowed_ = false;  // a string was not made, because it is larger than the room
  std::vector<std::unique_ptr<Object>> objects_;
};

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_HEAP_H_
