// Model directories that a test makes, whole or broken in one place.
#ifndef HYDRAD_TESTS_MODEL_MODEL_FILES_H_
#define HYDRAD_TESTS_MODEL_MODEL_FILES_H_

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hydrad {

struct TensorFile {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
using TensorFiles = std::map<std::string, TensorFile>;

// The tensors of a safetensors file. Ends the test program when it cannot be read.
TensorFiles ReadTensors(const std::string& path);
void WriteTensors(const std::string& path, const TensorFiles& tensors);

// A directory of its own for one test, removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  void Write(const std::string& name, std::string_view text) const;

 private:
  std::string path_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_MODEL_MODEL_FILES_H_
