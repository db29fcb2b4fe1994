#include "server/front/text_pool.h"

#include <algorithm>
#include <utility>

#include "server/base/status.h"
#include "server/base/thread_name.h"

namespace hydrad {

TextPool::TextPool(const TextPoolOptions& options) : options_(options) {
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this] {
      NameThisThread("text");
      Lines::iterator line;
      while (std::optional<TextJob> job = Next(&line)) {
        job->run(job->wanted());
        job.reset();  // with what it keeps
        Ended(line);
      }
    });
  }
}

TextPool::~TextPool() {
  Lines left;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (auto& [tenant, line] : lines_) left[tenant].jobs.swap(line.jobs);
    jobs_ = 0;
  }
  for (std::thread& thread : threads_) thread.join();
  for (auto& [tenant, line] : left) {
    for (const TextJob& job : line.jobs) job.run(Unavailable("the server is shutting down"));
  }
}

absl::Status TextPool::Submit(std::string_view tenant, TextJob job) {
  MutexLock lock(&mu_);
  auto line = lines_.find(tenant);
  if (line != lines_.end() &&
      (line->second.jobs.size() >= options_.tenant_jobs ||
       (!line->second.jobs.empty() && line->second.bytes + job.bytes > options_.tenant_bytes))) {
    return ResourceExhausted("{} texts of tenant '{}' already wait to be read", line->second.jobs.size(),
                             tenant);
  }
  if (jobs_ >= options_.jobs || (jobs_ > 0 && bytes_ + job.bytes > options_.bytes)) {
    return ResourceExhausted("{} texts already wait to be read", jobs_);
  }
  if (line == lines_.end()) line = lines_.emplace(tenant, Line{}).first;
  ++jobs_;
  bytes_ += job.bytes;
  line->second.bytes += job.bytes;
  line->second.jobs.push_back(std::move(job));
  return absl::OkStatus();
}

size_t TextPool::waiting() const {
  MutexLock lock(&mu_);
  return jobs_;
}

// Returns the first line after the last one that has a job and no thread; end() if there is none.
TextPool::Lines::iterator TextPool::NextLine() {
  const auto ready = [](const Lines::value_type& line) {
    return !line.second.jobs.empty() && !line.second.runs;
  };
  const auto after = lines_.upper_bound(last_);
  auto next = std::find_if(after, lines_.end(), ready);
  if (next != lines_.end()) return next;
  next = std::find_if(lines_.begin(), after, ready);
  return next == after ? lines_.end() : next;
}

std::optional<TextJob> TextPool::Next(Lines::iterator* line) {
  MutexLock lock(&mu_);
  mu_.Await([this, line]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    *line = NextLine();
    return stopping_ || *line != lines_.end();
  });
  if (stopping_) return std::nullopt;
  Line& next = (*line)->second;
  last_ = (*line)->first;
  TextJob job = std::move(next.jobs.front());
  next.jobs.pop_front();
  next.runs = true;
  next.bytes -= job.bytes;
  bytes_ -= job.bytes;
  --jobs_;
  return job;
}

void TextPool::Ended(Lines::iterator line) {
  MutexLock lock(&mu_);
  line->second.runs = false;
  if (line->second.jobs.empty()) lines_.erase(line);
}

}  // namespace hydrad
