// Threads whose work may take its time, but must not be felt by those of a model's step.
//
// On Linux a scheduling class alone does not see to that: a thread that yields, or whose slice has ended, can
// lose its core to one of the lowest class until the next tick (4 ms, a third of a step), and a step waits
// for its threads hundreds of times. So the work also comes in short stretches with rests between them.
#ifndef HYDRAD_SERVER_BASE_BACKGROUND_H_
#define HYDRAD_SERVER_BASE_BACKGROUND_H_

namespace hydrad {

// Lets the calling thread run only when no other wants its core, from now on, and makes it rest in Throttle.
// Returns false where the system refuses the former.
bool RunInBackground();

// Rests if the calling thread runs in the background and has worked for 0.1 ms, the longer the more its core
// is wanted; in any other thread returns at once. Work that may be background work calls this every few
// microseconds.
void Throttle();

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_BACKGROUND_H_
