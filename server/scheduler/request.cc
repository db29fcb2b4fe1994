#include "server/scheduler/request.h"

#include <algorithm>

#include "server/base/invalid_argument.h"
#include "server/base/reason.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

bool Request::BindAdapters() {
  bool all = true;
  for (size_t i = 0; i < adapters(); ++i) all = all && adapter_at(i).Bind();
  for (size_t i = 0; !all && i < adapters(); ++i) adapter_at(i).Unbind();
  return all;
}

bool Request::bound() const {
  for (size_t i = 0; i < adapters(); ++i) {
    if (!adapter_at(i).bound()) return false;
  }
  return true;
}

absl::Status Request::adapter_status() const {
  for (size_t i = 0; i < adapters(); ++i) RETURN_IF_ERROR(adapter_at(i).status());
  return absl::OkStatus();
}

namespace {

// The generation that serves now may know other tokens than the one whose tokens the prompt is of.
absl::Status CheckTokens(const Request& request) {
  const AdapterHandle& handle = request.adapter;
  const int own = handle.device() != nullptr ? handle.device()->vocab() : 0;
  if (own > 0 && request.form != nullptr) {
    return InvalidArgument(
        "adapter '{}' brings tokens of its own, so an answer of it cannot be held to a form", handle.name());
  }
  if (request.tokens == nullptr) return absl::OkStatus();
  const int reads = std::max(own, request.tokens->base_vocab);
  const auto unknown = std::ranges::find_if(request.prompt, [&](int32_t token) { return token >= reads; });
  if (unknown == request.prompt.end()) return absl::OkStatus();
  return Because(Unavailable("adapter '{}' has been replaced meanwhile, and does not have token {} any more",
                             handle.name(), *unknown),
                 "ADAPTER_NOT_READY");
}

}  // namespace

absl::Status CheckAdapterUse(const Request& request) {
  RETURN_IF_ERROR(CheckTokens(request));
  for (size_t i = 0; i < request.adapters(); ++i) {
    const AdapterHandle& handle = request.adapter_at(i);
    const AdapterTraits traits = handle.traits();
    if (request.adapters() > 1 && handle.mixture() != nullptr) {
      return InvalidArgument("adapter '{}' picks one of its experts per sequence, so it cannot be composed",
                             handle.name());
    }
    const bool weighted = request.adapters() > 1 || request.weight_at(i) != 1;
    if (weighted && !traits.linear) {
      return InvalidArgument(
          "adapter '{}' scales or replaces what the base model gives (DoRA, rows of its own, aLoRA), so a "
          "weighted "
          "sum of it is not defined",
          handle.name());
    }
    if (request.adapter_top_k > 0 && traits.routed && !traits.top_k) {
      return InvalidArgument("adapter '{}' picks its experts by a threshold: adapter_top_k does not apply",
                             handle.name());
    }
    if (request.adapter_top_k > traits.experts && traits.routed) {
      return InvalidArgument("adapter '{}' has {} experts: adapter_top_k is {}", handle.name(),
                             traits.experts, request.adapter_top_k);
    }
  }
  bool routed = false;
  for (size_t i = 0; i < request.adapters(); ++i) routed |= request.adapter_at(i).traits().routed;
  if (request.adapter_top_k > 0 && !routed) {
    return InvalidArgument("adapter '{}' has no router: adapter_top_k does not apply",
                           request.adapter.name());
  }
  return absl::OkStatus();
}

bool Approximates(const Request& request) {
  for (size_t i = 0; i < request.adapters(); ++i) {
    const AdapterTraits traits = request.adapter_at(i).traits();
    if (traits.dense && request.adapter_top_k > 0 && request.adapter_top_k < traits.experts) return true;
  }
  return false;
}

}  // namespace hydrad
