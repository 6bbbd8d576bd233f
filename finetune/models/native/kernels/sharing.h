// Tasks shared out among threads.
#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>

#include "stores.h"

namespace encoder {

// Every thread takes the next of `count` tasks until none is left. Afterwards all see what was stored, past the caches too.
template <class Work>
void share_out(int64_t count, int64_t threads, Work work) {
  std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(int(std::min(threads, std::max<int64_t>(count, 1))))
  {
    const int thread = omp_get_thread_num();
    for (int64_t task; (task = next++) < count;) work(task, thread);
    finish_stores();
  }
}

// Runs `work`; 0, or 1 where memory ran out.
template <class Work>
int guarded(Work work) {
  try {
    work();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace encoder
