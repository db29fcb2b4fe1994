// A conversation with a daemon, as the interactive `hydractl chat` has it.
#ifndef HYDRAD_CLIENT_HYDRACTL_CONVERSATION_H_
#define HYDRAD_CLIENT_HYDRACTL_CONVERSATION_H_

#include <functional>
#include <string>
#include <vector>

#include "client/hydractl/generate_flags.h"
#include "client/hydractl/interrupts.h"
#include "client/hydractl/session.h"
#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// Reads lines, sends each with all that was said before, and prints the answers as they come; lines that
// begin with a slash are commands (/help tells which). Answers go to the session's `out`, everything else to
// `err`. One thread.
class Conversation {
 public:
  // `flags` may be changed by commands. All must outlive this.
  Conversation(const v1::ChatRequest& request, GenerateFlags& flags, Session& session);

  // Until the input ends, or /quit. The exit code of the session is that of the last answer.
  void Run();

 private:
  struct Command {
    const char* name;
    const char* help;
    void (Conversation::*run)(const std::string& rest);
  };
  static const std::vector<Command>& Commands();

  bool RunCommand(const std::string& line);  // false: the end
  void Say(const std::string& text);
  // Runs the request and prints what comes; answers with the whole of it.
  absl::Status Answer(v1::GenerateResult* result);
  void UseAdapter(const std::string& name);
  void ShowRoute(const std::string& rest);
  void SetSystem(const std::string& text);
  void Clear(const std::string& rest);
  void Help(const std::string& rest);
  void Prompt();

  GenerateFlags& flags_;
  Session& session_;
  const Client client_;
  v1::ChatRequest request_;  // with all that was said
  v1::GenerateResult last_;  // answer
  Interrupts interrupts_;
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_CONVERSATION_H_
