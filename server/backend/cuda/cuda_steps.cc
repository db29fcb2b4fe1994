// How CudaBackend begins, records and ends steps.
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/elementwise.h"
#include "server/backend/cuda/cuda_backend_impl.h"
#include "server/backend/device_errors.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// Rows that recorded steps are padded to: few recordings, and little work for nothing.
constexpr std::array<int, 22> kRowBuckets = {1,  2,  4,  6,  8,  12,  16,  20,  24,  28,  32,
                                             40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512};
constexpr int kRopeChunk = 4096;  // positions whose angles are worked out at once

}  // namespace

StepTables& CudaBackend::OtherTables() const { return *steps_[tables_ == steps_[0].get() ? 1 : 0]; }

bool CudaBackend::MayRecord(const Batch& batch) const {
  const size_t rows = batch.tokens.size();
  return options_.graphs && batch.segments.size() == rows && batch.logit_rows.size() == rows &&
         batch.terms() <= 1 && batch.probes.empty();
}

int CudaBackend::PaddedRows(const Batch& batch) const {
  const int rows = batch.rows();
  if (!MayRecord(batch)) return rows;
  const int most = std::min(limits_.max_rows, limits_.max_logit_rows);
  const auto bucket = std::lower_bound(kRowBuckets.begin(), kRowBuckets.end(), rows);
  return bucket == kRowBuckets.end() ? most : std::min(most, *bucket);
}

void CudaBackend::PrepareStep(const Batch& batch) {
  const absl::StatusOr<bool> planned = OtherTables().PlanAhead(batch, PaddedRows(batch), MayRecord(batch));
  prepared_ = planned.ok() && *planned ? &batch : nullptr;
}

void CudaBackend::BeginStep(const Batch& batch, std::span<const double> inv_freq) {
  clock_->Begin();
  batch_ = &batch;
  sampled_ = scored_ = {};
  step_ = TryBeginStep(std::exchange(prepared_, nullptr) == &batch, inv_freq);
}

absl::Status CudaBackend::TryBeginStep(bool prepared, std::span<const double> inv_freq) {
  tables_ = &OtherTables();
  RETURN_IF_ERROR(CudaStatus(cudaSetDevice(options_.device), "choosing the device"));
  RETURN_IF_ERROR(ExtendAngles(*batch_, inv_freq));
  bool moved = false;
  if (!prepared) {
    ASSIGN_OR_RETURN(moved, tables_->Plan(*batch_, PaddedRows(*batch_), MayRecord(*batch_)));
  }
  RETURN_IF_ERROR(tables_->Send(stream_.get()));
  if (!batch_->runs.empty()) {
    ASSIGN_OR_RETURN(const cuda::LoraScratch scratch, lora_space_->Use(stream_.get()));
    moved = moved || scratch.u != lora_.u;
    lora_ = scratch;
  }
  if (moved) graphs_.Forget();
  return absl::OkStatus();
}

void CudaBackend::RunStep(absl::FunctionRef<void()> ops) {
  if (step_.ok() && MayRecord(*batch_)) {
    const StepForm form = {PaddedRows(*batch_), !batch_->runs.empty(), tables_->ends()};
    step_ = graphs_.Run(form, stream_.get(), [&] {
      step_ = absl::OkStatus();  // also when what they did was recorded in vain
      ops();
      return step_;
    });
  } else {
    ops();
  }
  step_.Update(clock_->End(stream_.get()));
}

// A failed step leaves nothing under way, and the next begins as if none had been recorded: what moved before
// it failed is not known.
absl::Status CudaBackend::FinishStep() {
  if (step_.ok()) step_ = tables_->FetchResults(stream_.get());
  if (step_.ok()) step_ = CudaStatus(cudaStreamSynchronize(stream_.get()), "waiting for the step");
  if (step_.ok()) {
    sampler_->End(sampled_, scored_);
    return absl::OkStatus();
  }
  graphs_.Forget();
  step_ = Noted(Settle(stream_.get(), std::move(step_)));
  if (IsDeviceLost(step_)) return step_;
  return Because(Internal("{}", std::string(step_.message())), kDeviceError);
}

absl::Status CudaBackend::ExtendAngles(const Batch& batch, std::span<const double> inv_freq) {
  const int width = static_cast<int>(2 * inv_freq.size());
  const int last = *std::max_element(batch.positions.begin(), batch.positions.end());
  if (last < angles_filled_) return absl::OkStatus();
  const int end = std::min(limits_.max_context, (last / kRopeChunk + 1) * kRopeChunk);
  std::vector<int32_t> positions(end - angles_filled_);
  std::iota(positions.begin(), positions.end(), angles_filled_);
  std::vector<float> angles(positions.size() * width);
  RopeTable({angles.data(), static_cast<int>(positions.size()), width, width}, positions, inv_freq);
  RETURN_IF_ERROR(
      uploader_->Copy(static_cast<std::byte*>(angles_->data()) + sizeof(float) * width * angles_filled_,
                      reinterpret_cast<const std::byte*>(angles.data()), sizeof(float) * angles.size()));
  RETURN_IF_ERROR(uploader_->Await());
  angles_filled_ = end;
  return absl::OkStatus();
}

std::span<const float> CudaBackend::Gates(int record) {
  return step_.ok() ? tables_->Gates(record) : std::span<const float>();
}

Routed CudaBackend::Routes(int probe) {
  return step_.ok() ? tables_->Routes(static_cast<size_t>(probe)) : Routed{};
}

}  // namespace hydrad
