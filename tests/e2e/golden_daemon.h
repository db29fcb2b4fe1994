// A daemon that serves a model of tests/golden, and everything that the golden cases ask of it.
#ifndef HYDRAD_TESTS_E2E_GOLDEN_DAEMON_H_
#define HYDRAD_TESTS_E2E_GOLDEN_DAEMON_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/model/golden.h"

namespace hydrad {

// The daemon has been started anew since its adapters were loaded, so that all of them are on disk until they
// are asked for, and has room on the device for no more than the case that needs most: they come and go.
class GoldenDaemon {
 public:
  // `model` is that of the cases. Each of their adapters is registered once for each of `uses`, for which
  // nobody but the caller asks. Ends the test when the daemon refuses one.
  GoldenDaemon(const std::string& model, const std::vector<GoldenCase>& cases,
               const std::vector<std::string>& uses);

  // Afterwards no adapter that anybody has asked for is on the device.
  void EvictAll();

  // The i-th adapter of a case, as it is registered for that use.
  static std::string NameOf(const GoldenCase& golden, size_t i, const std::string& use);
  v1::Adapter Get(const std::string& name);

  // The answer to the case's prompt: one choice, with the log-probabilities of the prompt's tokens too, or n
  // that are streamed, without. Prompts of ids are cut, to leave room for one token. A failed test, and
  // nothing, if the daemon refuses.
  v1::GenerateResult Ask(const GoldenCase& golden, const GoldenPrompt& prompt, const std::string& use, int n);
  int max_context() const { return max_context_; }

  // Ends the daemon, which must end well.
  ~GoldenDaemon();

 private:
  std::unique_ptr<DaemonProcess> Start(const std::vector<std::string>& more);
  void Stop();
  void Register(const std::vector<GoldenCase>& cases, const std::vector<std::string>& uses);
  v1::GenerateRequest Request(const GoldenCase& golden, const GoldenPrompt& prompt, const std::string& use);

  const std::string model_, state_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<v1::Inference::Stub> stub_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  std::map<std::string, std::vector<std::string>> experts_;  // of an adapter's name
  uint64_t device_bytes_ = 0, host_bytes_ = 0;               // that the case needs which needs most
  GoldenCase largest_;                                       // the case that needs most of the device
  int max_context_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_GOLDEN_DAEMON_H_
