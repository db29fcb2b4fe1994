// What README says that hydrad does, row by row, as it is seen through the running daemon.
#ifndef HYDRAD_TESTS_E2E_README_ROWS_H_
#define HYDRAD_TESTS_E2E_README_ROWS_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"

namespace hydrad {

// A daemon that serves the tiny model and its adapters, with a cache that one full sequence fills. Its
// methods may be called from several threads.
class RowsDaemon {
 public:
  explicit RowsDaemon(const std::vector<std::string>& more = {});
  ~RowsDaemon();

  // The answer; a failed test, and one empty choice, if the daemon refuses.
  v1::GenerateResult Ask(const v1::GenerateRequest& request);
  // The only choice of an answer.
  v1::Chunk AskOne(const v1::GenerateRequest& request) { return Ask(request).choices(0); }

  v1::Inference::Stub& inference() { return *inference_; }
  v1::Admin::Stub& admin() { return *admin_; }
  DaemonProcess& process() { return *process_; }

 private:
  std::unique_ptr<DaemonProcess> process_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

// For exactly `tokens` tokens after a fixed prompt, greedily, with their ids and log-probabilities.
v1::GenerateRequest RowRequest(int tokens, const std::string& adapter = "");
std::vector<int> Ids(const v1::Chunk& choice);

struct ReadmeRow {
  std::string row;   // the first column of README's table
  std::string what;  // of its second column
  std::function<void(RowsDaemon&)> check;
};

inline void PrintTo(const ReadmeRow& row, std::ostream* out) { *out << row.row << ": " << row.what; }

std::vector<ReadmeRow> SamplingRows();
std::vector<ReadmeRow> AdapterRows();
std::vector<ReadmeRow> ServiceRows();

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_README_ROWS_H_
