// The weights of the made-up base model, as files.
#ifndef HYDRAD_TESTS_FAKES_TINY_BASE_H_
#define HYDRAD_TESTS_FAKES_TINY_BASE_H_

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "server/model/base_weights.h"
#include "tests/fakes/adapter_files.h"

namespace hydrad {

// Every tensor of `config`, of small F32 values that differ from each other, in a directory that goes with
// it.
class TinyBase {
 public:
  explicit TinyBase(const ModelConfig& config);
  ~TinyBase() { std::filesystem::remove_all(dir_); }
  TinyBase(const TinyBase&) = delete;
  TinyBase& operator=(const TinyBase&) = delete;

  const std::shared_ptr<const BaseWeights>& shared() const { return weights_; }
  const BaseWeights* weights() const { return weights_.get(); }
  const std::string& dir() const { return dir_; }
  const FakeTensor& tensor(const std::string& name) const { return tensors_.at(name); }

 private:
  std::string dir_;
  std::map<std::string, FakeTensor> tensors_;
  std::shared_ptr<const BaseWeights> weights_;
};

// The values of an F32 tensor.
std::vector<float> ValuesOf(const FakeTensor& tensor);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_TINY_BASE_H_
