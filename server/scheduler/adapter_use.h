// Which adapters the requests in the scheduler use.
#ifndef HYDRAD_SERVER_SCHEDULER_ADAPTER_USE_H_
#define HYDRAD_SERVER_SCHEDULER_ADAPTER_USE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "server/adapters/handle.h"

namespace hydrad {

// Gives each adapter generation that runs a number to sort a batch by, and knows the names that gateways ask
// for (the info gauge of the Gateway API inference extension). Two generations of one name are two numbers
// and one name. A number is never used twice; numbers follow first use, so they are the same for the same
// requests, which sorting by address would not be. The base model is number 0 and has no name. Owned by the
// scheduler thread.
class AdapterUse {
 public:
  // Counts a request on this adapter that has arrived.
  void Enter(const AdapterHandle& adapter);
  // Counts it as started, with its handle bound, and returns the generation's number. That is the same for as
  // long as any request runs on the generation.
  uint64_t Start(const AdapterHandle& adapter);
  // Counts it no more: it has ended, then or before it started.
  void Leave(const AdapterHandle& adapter, bool started);

  // Return the names of adapters with started and with waiting requests, sorted and comma-separated.
  std::string Running() const { return Names(&Counts::running); }
  std::string Waiting() const { return Names(&Counts::waiting); }
  // Returns whether either list has changed since this was last asked; true the first time.
  bool TakeChanged() { return std::exchange(changed_, false); }

 private:
  struct Counts {
    int running = 0, waiting = 0;
  };
  struct Order {
    uint64_t number = 0;
    int requests = 0;
  };
  void Change(const std::string& name, int Counts::*count, int by);
  std::string Names(int Counts::*count) const;

  std::map<const void*, Order> orders_;
  std::map<std::string, Counts> names_;
  uint64_t last_order_ = 0;
  bool changed_ = true;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_ADAPTER_USE_H_
