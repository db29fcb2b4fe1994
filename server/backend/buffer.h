// What a device holds for others: memory, and matrices as its dense product wants them.
#ifndef HYDRAD_SERVER_BACKEND_BUFFER_H_
#define HYDRAD_SERVER_BACKEND_BUFFER_H_

#include <cstddef>

#include "server/backend/tensor.h"

namespace hydrad {

// Device memory, given back by destruction. Move-only through its unique_ptr.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() const = 0;
  virtual size_t bytes() const = 0;
};

// A base projection (or the embedding and lm_head) as the device's dense product wants it.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual int rows() const = 0;      // out features
  virtual int cols() const = 0;      // in features
  virtual size_t bytes() const = 0;  // of all that it holds: values, scales and bias
};

// The cache of one layer: two buffers of [blocks, kv_heads, block_size, head_dim] each.
struct KvCacheView {
  Tensor k, v;
  int block_size, kv_heads, head_dim;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_BUFFER_H_
