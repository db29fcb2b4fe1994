// A model of tests/golden that a daemon can serve.
#ifndef HYDRAD_TESTS_E2E_GOLDEN_MODEL_H_
#define HYDRAD_TESTS_E2E_GOLDEN_MODEL_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace hydrad {

// Makes a directory with the random model `name`, which has no tokenizer, and the tiny model's: prompts are
// ids. `user` keeps tests that run at the same time apart.
inline std::string ModelWithATokenizer(const std::string& name, const std::string& user) {
  const std::filesystem::path directory =
      std::filesystem::path(testing::TempDir()) / ("hydrad_" + user + "_" + name);
  std::filesystem::create_directories(directory);
  const auto replace = std::filesystem::copy_options::overwrite_existing;
  for (const auto& file : std::filesystem::directory_iterator("tests/golden/models/" + name)) {
    std::filesystem::copy(file, directory / file.path().filename(), replace);
  }
  std::filesystem::copy("deploy/models/tiny/tokenizer.json", directory / "tokenizer.json", replace);
  return directory.string();
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_GOLDEN_MODEL_H_
