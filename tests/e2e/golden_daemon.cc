#include "tests/e2e/golden_daemon.h"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "tests/e2e/golden_model.h"
#include "tests/e2e/greedy.h"

namespace hydrad {
namespace {

constexpr int kTop = 20;
constexpr const char* kEvictor = "evictor";  // a use that fills the device

v1::Decision ToProto(Decision decision) {
  switch (decision) {
    case Decision::kLabel:
      return v1::DECISION_LABEL;
    case Decision::kLast:
      return v1::DECISION_LAST;
    case Decision::kVote:
      return v1::DECISION_VOTE;
    case Decision::kLayer:
      return v1::DECISION_LAYER;
  }
  return v1::DECISION_UNSPECIFIED;
}

// The random models have no tokenizer of their own.
std::string Directory(const std::string& model) {
  const std::filesystem::path path(model);
  return model.starts_with("tests/") ? ModelWithATokenizer(path.filename(), "golden_daemon") : model;
}

// What GenerateUnary would have answered.
grpc::Status Gather(grpc::ClientReader<v1::GenerateResponse>& reader, int n, v1::GenerateResult* result) {
  for (int i = 0; i < n; ++i) result->add_choices()->set_choice(i);
  for (v1::GenerateResponse message; reader.Read(&message);) {
    if (message.has_start()) *result->mutable_start() = message.start();
    if (message.has_chunk()) {
      v1::Chunk& choice = *result->mutable_choices(message.chunk().choice());
      choice.mutable_token_ids()->MergeFrom(message.chunk().token_ids());
      choice.mutable_logprobs()->MergeFrom(message.chunk().logprobs());
      if (message.chunk().finish_reason() != v1::FINISH_REASON_UNSPECIFIED)
        choice.set_finish_reason(message.chunk().finish_reason());
    }
    if (message.has_end()) *result->mutable_usage() = message.end().usage();
  }
  return reader.Finish();
}

}  // namespace

GoldenDaemon::GoldenDaemon(const std::string& model, const std::vector<GoldenCase>& cases,
                           const std::vector<std::string>& uses)
    : model_(Directory(model)),
      state_(fmt::format("{}/hydrad_golden_state_{}", testing::TempDir(), getpid())) {
  std::filesystem::remove_all(state_);
  daemon_ = Start({});
  std::vector<std::string> names = uses;
  names.emplace_back(kEvictor);
  Register(cases, names);
  Stop();
  daemon_ = Start({"--adapter-device-memory", std::to_string(device_bytes_), "--adapter-host-memory",
                   std::to_string(host_bytes_)});
}

GoldenDaemon::~GoldenDaemon() {
  Stop();
  std::filesystem::remove_all(state_);
}

void GoldenDaemon::Stop() {
  stub_.reset();
  admin_.reset();
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->Wait(), 0) << daemon_->log();
}

std::unique_ptr<DaemonProcess> GoldenDaemon::Start(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {
      "--model",          model_, "--listen",       "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
      "--metrics-listen", "",     "--lame-duck",    "0",           "--threads",      "2",
      "--weights",        "f32",  "--adapter-root", ".",           "--state-dir",    state_};
  arguments.insert(arguments.end(), more.begin(), more.end());
  auto daemon = std::make_unique<DaemonProcess>(arguments);
  stub_ = v1::Inference::NewStub(Channel(daemon->Address("inference")));
  admin_ = v1::Admin::NewStub(Channel(daemon->Address("admin")));
  grpc::ClientContext context;
  v1::ServerStatus status;
  const bool ok = admin_->GetServerStatus(&context, {}, &status).ok();
  if (!ok) daemon->Wait();
  EXPECT_TRUE(ok) << daemon->log();
  max_context_ = status.max_context();
  return daemon;
}

void GoldenDaemon::Register(const std::vector<GoldenCase>& cases, const std::vector<std::string>& uses) {
  for (const GoldenCase& golden : cases) {
    uint64_t device_bytes = 0, host_bytes = 0;
    for (size_t i = 0; i < golden.adapters.size(); ++i) {
      v1::Adapter adapter;
      for (const std::string& use : uses) {
        grpc::ClientContext context;
        v1::LoadAdapterRequest request;
        request.set_name(NameOf(golden, i, use));
        request.set_path(golden.adapters[i]);
        const grpc::Status status = admin_->LoadAdapter(&context, request, &adapter);
        EXPECT_TRUE(status.ok()) << request.name() << ": " << status.error_message();
        experts_[request.name()] = {adapter.expert_names().begin(), adapter.expert_names().end()};
      }
      device_bytes += adapter.device_bytes();
      // While it is read its file is there beside what is made of it.
      host_bytes += adapter.host_bytes() +
                    std::filesystem::file_size(golden.adapters[i] + "/adapter_model.safetensors");
    }
    if (device_bytes > device_bytes_) largest_ = golden;
    device_bytes_ = std::max(device_bytes_, device_bytes);
    host_bytes_ = std::max(host_bytes_, 2 * host_bytes);
  }
}

void GoldenDaemon::EvictAll() { Ask(largest_, largest_.prompts[0], kEvictor, 1); }

std::string GoldenDaemon::NameOf(const GoldenCase& golden, size_t i, const std::string& use) {
  return fmt::format("{}.{}.{}", golden.name, i, use);
}

v1::Adapter GoldenDaemon::Get(const std::string& name) {
  grpc::ClientContext context;
  v1::GetAdapterRequest request;
  request.set_name(name);
  v1::Adapter adapter;
  const grpc::Status status = admin_->GetAdapter(&context, request, &adapter);
  EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
  return adapter;
}

v1::GenerateRequest GoldenDaemon::Request(const GoldenCase& golden, const GoldenPrompt& prompt,
                                          const std::string& use) {
  v1::GenerateRequest request = GreedyRequest(static_cast<int>(prompt.greedy.size()));
  if (prompt.text.empty()) {
    const size_t most = static_cast<size_t>(max_context_ - 1);
    const auto end = prompt.ids.begin() + static_cast<ptrdiff_t>(std::min(prompt.ids.size(), most));
    request.mutable_token_ids()->mutable_ids()->Add(prompt.ids.begin(), end);
  } else {
    request.set_text(prompt.text);
    request.set_parse_special(true);
    request.set_no_special(true);
  }
  if (golden.adapters.size() == 1 && golden.weights[0] == 1) {
    request.set_adapter(NameOf(golden, 0, use));
  } else {
    for (size_t i = 0; i < golden.adapters.size(); ++i) {
      v1::WeightedAdapter& adapter = *request.add_adapters();
      adapter.set_name(NameOf(golden, i, use));
      adapter.set_weight(golden.weights[i]);
    }
  }
  if (golden.top_k > 0) request.set_adapter_top_k(golden.top_k);
  if (golden.decision) request.set_decision(ToProto(*golden.decision));
  if (golden.decision == Decision::kLabel)
    request.set_expert(experts_.at(NameOf(golden, 0, use)).at(static_cast<size_t>(golden.label)));
  request.mutable_output()->set_token_ids(true);
  request.mutable_output()->set_logprobs(kTop);
  return request;
}

v1::GenerateResult GoldenDaemon::Ask(const GoldenCase& golden, const GoldenPrompt& prompt,
                                     const std::string& use, int n) {
  v1::GenerateRequest request = Request(golden, prompt, use);
  grpc::ClientContext context;
  v1::GenerateResult result;
  grpc::Status status;
  if (n == 1) {
    request.mutable_output()->set_prompt_logprobs(kTop);
    status = stub_->GenerateUnary(&context, request, &result);
  } else {
    request.mutable_sampling()->set_n(n);
    status = Gather(*stub_->Generate(&context, request), n, &result);
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
  return status.ok() ? result : v1::GenerateResult();
}

}  // namespace hydrad
