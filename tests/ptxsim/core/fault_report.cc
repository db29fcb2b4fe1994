#include "core/fault_report.h"

#include <cstdio>
#include <deque>
#include <mutex>

#include "core/options.h"

namespace ptxsim {
namespace {

constexpr size_t kKept = 1 << 16;

std::mutex mutex;
std::deque<Counters> launches;
size_t dropped = 0;

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  quoted += '"';
  return quoted;
}

void WriteTraffic(std::FILE* f, const char* name, const Traffic& t) {
  std::fprintf(f, ",\"%s\":{\"requests\":%zu,\"bytes\":%zu,\"moved\":%zu,\"distinct\":%zu}", name, t.requests,
               t.bytes, t.sectors * 32, t.distinct * 32);
}

// The instructions that moved most, or lost most to bank conflicts.
void WriteSites(std::FILE* f, const Kernel& kernel, const Counters& c) {
  std::fprintf(f, ",\"sites\":[");
  bool first = true;
  for (size_t pc = 0; pc < c.sites.size(); ++pc) {
    const Traffic& t = c.sites[pc];
    if (t.requests == 0) continue;
    const Place& place = kernel.places[static_cast<size_t>(kernel.code[pc].place)];
    std::fprintf(
        f,
        "%s{\"op\":%s,\"file\":%s,\"line\":%d,\"ptx\":%d,\"requests\":%zu,\"bytes\":%zu,\"moved\":%zu,"
        "\"wavefronts\":%zu,\"ideal\":%zu}",
        first ? "" : ",", Quoted(kernel.opcodes[pc]).c_str(), Quoted(place.file).c_str(), place.line,
        kernel.code[pc].line, t.requests, t.bytes, t.sectors * 32, t.wavefronts, t.ideal_wavefronts);
    first = false;
  }
  std::fprintf(f, "]");
}

void Write(const Kernel* kernel, const Counters& c) {
  static std::FILE* f = std::fopen(GetOptions().report.c_str(), "w");
  if (f == nullptr) return;
  std::fprintf(
      f,
      "{\"kernel\":%s,\"blocks\":%zu,\"threads\":%zu,\"shared_bytes\":%zu,\"warp_instructions\":%zu,"
      "\"thread_instructions\":%zu,\"mma\":%zu,\"barriers\":%zu,\"wavefronts\":%zu,\"ideal_wavefronts\":%zu",
      Quoted(c.kernel).c_str(), c.blocks, c.threads_per_block, c.shared_bytes, c.warp_instructions,
      c.thread_instructions, c.mma, c.barriers, c.shared.wavefronts, c.shared.ideal_wavefronts);
  WriteTraffic(f, "reads", c.reads);
  WriteTraffic(f, "writes", c.writes);
  if (kernel != nullptr) WriteSites(f, *kernel, c);
  std::fprintf(f, ",\"seconds\":%.6f}\n", c.seconds);
  std::fflush(f);
}

void Keep(const Kernel* kernel, Counters c) {
  std::lock_guard lock(mutex);
  if (!GetOptions().report.empty()) Write(kernel, c);
  c.sites.clear();
  launches.push_back(std::move(c));
  if (launches.size() > kKept) launches.pop_front(), ++dropped;
}

}  // namespace

void RecordLaunch(const Kernel& kernel, Counters counters) { Keep(&kernel, std::move(counters)); }

void RecordLibraryCall(const std::string& name, uint64_t read_bytes, uint64_t written_bytes, double seconds) {
  Counters c;
  c.kernel = name;
  c.reads.bytes = read_bytes;
  c.reads.sectors = c.reads.distinct = (read_bytes + 31) / 32;
  c.writes.bytes = written_bytes;
  c.writes.sectors = c.writes.distinct = (written_bytes + 31) / 32;
  c.seconds = seconds;
  Keep(nullptr, std::move(c));
}

size_t LaunchCount() {
  std::lock_guard lock(mutex);
  return dropped + launches.size();
}

bool LaunchAt(size_t index, Counters* counters) {
  std::lock_guard lock(mutex);
  if (index < dropped || index - dropped >= launches.size()) return false;
  *counters = launches[index - dropped];
  return true;
}

void ClearLaunches() {
  std::lock_guard lock(mutex);
  launches.clear();
  dropped = 0;
}

}  // namespace ptxsim
