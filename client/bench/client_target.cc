#include "client/bench/client_target.h"

#include <utility>
#include <vector>

#include "server/base/json.h"

namespace hydrad {

ClientTarget::ClientTarget(const std::string& address, const Options& options) : options_(options) {
  for (int i = 0; i < options.connections; ++i) {
    clients_.push_back(std::make_unique<Client>(Connection(address, options.tls)));
  }
}

void ClientTarget::Start(const BenchRequest& request, Events events) {
  v1::GenerateRequest message;
  message.set_text(request.prompt);
  message.set_adapter(request.adapter);
  message.mutable_sampling()->set_temperature(options_.temperature);
  message.mutable_sampling()->set_seed(request.seed);
  if (request.max_tokens > 0) message.mutable_stopping()->set_max_tokens(request.max_tokens);
  message.mutable_stopping()->set_ignore_eos(options_.ignore_eos);
  message.mutable_output()->set_token_ids(true);  // to count what one message brings

  struct Answer {
    v1::Usage usage;
    std::vector<int32_t> token_ids;
  };
  const auto answer = std::make_shared<Answer>();
  Client::Events stream;
  stream.on_message = [answer,
                       on_tokens = std::move(events.on_tokens)](const v1::GenerateResponse& response) {
    const auto& ids = response.chunk().token_ids();
    if (response.has_chunk()) on_tokens(response.chunk().choice(), ids.size());
    answer->token_ids.insert(answer->token_ids.end(), ids.begin(), ids.end());
    if (response.has_end()) answer->usage = response.end().usage();
  };
  stream.on_done = [this, answer, request, on_done = std::move(events.on_done)](const absl::Status& status) {
    if (status.ok() && options_.transcript != nullptr) Record(request, answer->token_ids);
    on_done(status.code(), answer->usage.prompt_tokens(), answer->usage.generated_tokens());
  };
  clients_[turn_++ % clients_.size()]->StartGenerate(message, options_.call, std::move(stream));
}

void ClientTarget::Record(const BenchRequest& request, const std::vector<int32_t>& token_ids) {
  const Json line = {{"prompt", request.prompt},
                     {"adapter", request.adapter},
                     {"seed", request.seed},
                     {"token_ids", token_ids}};
  MutexLock lock(&mu_);
  *options_.transcript << line.dump() << '\n';
}

}  // namespace hydrad
