// What a call is about: the encoder's sizes and parameters, the sentences of a batch, and how they are shared out.
#pragma once
#include <algorithm>
#include <vector>

#include "packing.h"

namespace encoder {

// Order of a layer's pointers: seven weights, their biases, then gain and shift of the norm between attention and feed-forward
// network and of the outer one. Null where a layer has none: a gate, a bias, a shift, an outer norm before the attention.
enum Linear { kQuery, kKey, kValue, kProjection, kWiden, kGate, kNarrow, kLinears };
enum Norm { kMiddleGain = 2 * kLinears, kMiddleShift, kOuterGain, kOuterShift, kPointers };

struct Shape {
  int64_t layers, hidden, wide, heads;
  int64_t pre_norm;  // 0: norms behind attention and feed-forward network (layer.h); 1: before them, and a gate (pre_norm.h)
  double epsilon;

  int64_t head_size() const { return hidden / heads; }
  int64_t gates() const { return pre_norm ? wide : 0; }
  int64_t outputs(int linear) const { return linear == kWiden ? wide : linear == kGate ? gates() : hidden; }
  int64_t inputs(int linear) const { return linear == kNarrow ? wide : hidden; }
  int64_t widened() const { return wide + gates(); }  // side by side
  // Where a linear layer's outputs lie among those of all, one after the other; kLinears: how many there are.
  int64_t first_output(int linear) const {
    return std::min<int64_t>(linear, 4) * hidden + (linear > kWiden ? wide : 0) + (linear > kGate ? gates() : 0) +
           (linear > kNarrow ? hidden : 0);
  }
  int64_t bias_sums() const { return first_output(kLinears) + 4 * hidden; }  // of one layer
};

// Packed weights of one layer: for each linear layer W' (depth is its input) and W (depth is its output).
struct WeightPlaces {
  int64_t forward[kLinears], backward[kLinears], size;

  explicit WeightPlaces(const Shape& shape) : size(0) {
    for (int linear = 0; linear < kLinears; linear++) {
      forward[linear] = size;
      size += packed_size(shape.inputs(linear), shape.outputs(linear));
      backward[linear] = size;
      size += packed_size(shape.outputs(linear), shape.inputs(linear));
    }
  }
};

// Rows that a chunk's part of an operand of weight gradients is filled up to: pairs; whole words (transposing.h) for oneDNN.
#ifdef ENCODER_BRGEMM
constexpr int64_t kChunkStep = 16;
#else
constexpr int64_t kChunkStep = 2;
#endif

// Some whole sentences that one thread takes through all layers. Their rows follow each other in the batch; `after` are those
// that go on after the last layer's attention (the ones that are read), counted from the chunk's first row.
struct Chunk {
  int64_t first_row, rows;
  int64_t first_sentence, sentences;
  int64_t aligned_row;                    // first row in buffers where chunks begin at multiples of kChunkStep
  int64_t first_read, reads, aligned_read;  // the same among the rows that are read after the last layer
};

struct Plan {
  std::vector<Chunk> chunks;
  std::vector<int64_t> starts;      // first row of each sentence
  std::vector<int32_t> lengths;
  std::vector<int32_t> read_rows;   // row of each read in the batch, ascending; all rows where everything is read
  std::vector<int32_t> all_rows;    // 0, 1, 2, ...
  int64_t rows = 0, longest = 0, most_rows = 0;
  int64_t aligned_rows = 0, aligned_reads = 0;
  bool reads_all = true;

  // lengths: tokens of each sentence. read: 0 or 1 of each row, or null for all. How sentences are grouped depends on the
  // batch alone, never on the number of threads, so that sums over chunks are the same for all of them.
  Plan(const int32_t* given_lengths, int64_t sentences, const uint8_t* read)
      : lengths(given_lengths, given_lengths + sentences), reads_all(read == nullptr) {
    for (int32_t length : lengths) {
      starts.push_back(rows);
      rows += length;
      longest = std::max<int64_t>(longest, length);
    }
    for (int32_t row = 0; row < rows; row++) {
      all_rows.push_back(row);
      if (read == nullptr || read[row]) read_rows.push_back(row);
    }
    // Large chunks read the weights seldom, a few of equal size keep several threads busy.
    const int64_t count = std::max<int64_t>({1, std::min<int64_t>(4, rows / 32), (rows + 191) / 192});
    for (int64_t sentence = 0, number = 1; sentence < sentences; number++)
      sentence = add_chunk(sentence, rows * number / count);
  }

  const int32_t* after(const Chunk& chunk, bool last) const {
    return last ? read_rows.data() + chunk.first_read : all_rows.data() + chunk.first_row;
  }

 private:
  // Takes sentences from `sentence` on as long as at least half of them lies before row `end`; returns the next one.
  int64_t add_chunk(int64_t sentence, int64_t end_row) {
    Chunk chunk{starts[sentence], 0, sentence, 0, aligned_rows, 0, 0, aligned_reads};
    const int64_t count = int64_t(lengths.size());
    while (sentence < count && (chunk.rows == 0 || starts[sentence] + lengths[sentence] / 2 < end_row)) {
      chunk.rows += lengths[sentence++];
      chunk.sentences++;
    }
    const auto begin = std::lower_bound(read_rows.begin(), read_rows.end(), chunk.first_row);
    const auto end = std::lower_bound(begin, read_rows.end(), chunk.first_row + chunk.rows);
    chunk.first_read = begin - read_rows.begin();
    chunk.reads = end - begin;
    if (chunk.rows == 0) return sentence;
    aligned_rows += round_up(chunk.rows, kChunkStep);
    aligned_reads += round_up(chunk.reads, kChunkStep);
    most_rows = std::max(most_rows, chunk.rows);
    chunks.push_back(chunk);
    return sentence;
  }
};

}  // namespace encoder
