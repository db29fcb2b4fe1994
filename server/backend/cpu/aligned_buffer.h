// Memory of the CPU device: 64-byte aligned, in huge pages where it is large, since the kernels stream
// weights at the speed of the memory and small pages halve that.
#ifndef HYDRAD_SERVER_BACKEND_CPU_ALIGNED_BUFFER_H_
#define HYDRAD_SERVER_BACKEND_CPU_ALIGNED_BUFFER_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstring>
#include <memory>

#include "server/backend/buffer.h"

namespace hydrad {

// Given back to the operating system by destruction when it is large. Immutable but for its contents.
class AlignedBuffer : public Buffer {
 public:
  // RESOURCE_EXHAUSTED when the system refuses. Contents unspecified; NaN (all bits set) in builds with
  // asserts, so that whoever reads what nobody wrote sees it in the logits.
  static absl::StatusOr<std::unique_ptr<AlignedBuffer>> Allocate(size_t bytes);

  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() override;

  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  AlignedBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* data_;
  size_t bytes_;  // asked for; see TakenBytes
};

// Makes memory unusable as numbers in builds with asserts: every float and bf16 in it becomes a NaN.
inline void Poison([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#ifndef NDEBUG
  std::memset(data, 0xff, bytes);
#endif
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_ALIGNED_BUFFER_H_
