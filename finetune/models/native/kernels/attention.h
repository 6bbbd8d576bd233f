// Attention within one sentence, forward and backward, head by head in strips of 64 queries.
//
// softmax(scale Q K') V with dropout on the probabilities (Vaswani et al., https://arxiv.org/abs/1706.03762). The
// probabilities are not kept: the backward pass computes them again from the logarithm of each row's sum (Dao et al.,
// FlashAttention, https://arxiv.org/abs/2205.14135), so memory grows with the length, not with its square. Where a query sees
// its neighbours alone, keys beyond those of a strip are left out in blocks of 64 (Beltagy et al., https://arxiv.org/abs/2004.05150).
#pragma once
#include <vector>

#include "dropout.h"
#include "products.h"
#include "sums.h"

namespace encoder {

constexpr int64_t kStrip = 64;
constexpr float kHidden = -1e30f;  // a score that has no weight beside any other

// Where one head of one sentence lies: rows of queries, keys and values are `stride` apart.
template <class Stored>
struct HeadInputs {
  const Stored* query;
  const Stored* key;
  const Stored* value;
  int64_t stride;
  int64_t tokens;
  int64_t size;  // of the head
  float scale;
  int64_t window;  // how many tokens away a query still sees a key; below 0: all
  DropoutStream stream;

  bool windowed() const { return window >= 0 && window + 1 < tokens; }
};

// The keys that a strip of queries may see: `count` of a sentence's `total` from `first`, a multiple of 64, on. Rows of scores
// are `length`, a multiple of 16, long.
struct KeyRange {
  int64_t first, count, length, total;
};

template <class Stored>
inline KeyRange keys_of(const HeadInputs<Stored>& head, int64_t query, int64_t queries) {
  if (!head.windowed()) return {0, head.tokens, round_up(head.tokens, 16), head.tokens};
  const int64_t first = std::max<int64_t>(0, query - head.window) / kBlock * kBlock;
  const int64_t end = std::min(head.tokens, round_up(query + queries + head.window, kBlock));
  return {first, end - first, round_up(end - first, 16), head.tokens};
}

// Those of them, counted from the first, that one query sees.
struct SeenKeys {
  int64_t begin, end;
  bool all(const KeyRange& keys) const { return end - begin == keys.count; }
};

template <class Stored>
inline SeenKeys seen_by(const HeadInputs<Stored>& head, const KeyRange& keys, int64_t query) {
  if (!head.windowed()) return {0, keys.count};
  return {std::max<int64_t>(0, query - head.window - keys.first), std::min(keys.count, query + head.window + 1 - keys.first)};
}

// Buffers of one thread for sentences up to `longest` tokens.
template <class Stored>
struct AttentionBuffers {
  std::vector<float> scores, weights, tile, key_gradient, value_gradient;
  std::vector<Stored> keys, values, keys_across, queries, given, probabilities, score_gradient, turned;

  AttentionBuffers(int64_t longest, int64_t size, bool backward) {
    const int64_t length = round_up(longest, 16), wide = round_up(size, 16);
    scores.resize(kStrip * length);
    tile.resize(kStrip * kBlock);
    keys.resize(length * wide);
    values.resize(length * wide);
    probabilities.resize(kStrip * length);
    if (!backward) return;
    weights.resize(kStrip * length);
    for (auto* sums : {&key_gradient, &value_gradient}) sums->resize(length * wide);
    for (auto* packed : {&keys_across, &queries, &given}) packed->resize(std::max(length, kStrip) * wide);
    score_gradient.resize(kStrip * length);
    turned.resize(kStrip * length);
  }
};

// scores (queries, keys.length) = a (queries, size) times the packed transposed rows of the keys' tokens.
template <class Stored>
inline void score(const Stored* a, int64_t a_stride, int64_t queries, int64_t size, const KeyRange& keys,
                  const Stored* packed, float* scores) {
  for (int64_t first = keys.first; first < keys.first + keys.count; first += kBlock)
    multiply(queries, block_width(keys.total, first), even(size), a, a_stride, packed + first * even(size),
             scores + first - keys.first, keys.length, Into::kOver);
}

// target (rows, size) = a (rows, keys) times their rows of a packed (tokens, size); target rows are round_up(size, 16) apart.
template <class Stored>
inline void combine(const Stored* a, int64_t rows, const KeyRange& keys, int64_t size, const Stored* packed, float* target) {
  for (int64_t first = 0; first < size; first += kBlock) {
    const int64_t width = block_width(size, first);
    multiply(rows, width, even(keys.count), a, keys.length, packed + first * even(keys.total) + keys.first * width,
             target + first, round_up(size, 16), Into::kOver);
  }
}

// The same where a is the transposed of what `lay_across` was given, (depth, rows).
template <class Stored>
inline void combine_across(const Stored* a, int64_t rows, int64_t depth, int64_t size, const Stored* packed, float* target,
                           Into into) {
  const int64_t steps = even(depth), stride = round_up(size, 16);
  for (int64_t row = 0; row < rows; row += kBlock)
    for (int64_t first = 0; first < size; first += kBlock)
      multiply_across(std::min(kBlock, rows - row), block_width(size, first), steps, a, rows, row, packed + first * steps,
                      target + row * stride + first, stride, into);
}

// Rows (rows, size) of float32, round_up(size, 16) apart, become `Stored` rows `stride` apart.
template <class Stored>
inline void store_rows(const float* rows, int64_t count, int64_t size, Stored* target, int64_t stride) {
  for (int64_t r = 0; r < count; r++)
#pragma omp simd
    for (int64_t c = 0; c < size; c++) target[r * stride + c] = from_float<Stored>(rows[r * round_up(size, 16) + c]);
}

// Columns from `tokens` to `length`, less than 16, of a row become `value`: loops over whole vectors need no tail behind
// them.
template <class Number>
inline void fill_padding(Number* row, int64_t tokens, int64_t length, Number value) {
  Number* last = row + length - 16;
  const int64_t kept = tokens - (length - 16);
#pragma omp simd
  for (int64_t c = 0; c < 16; c++) last[c] = c < kept ? last[c] : value;
}

struct Softened {
  float shift, sum;  // the row's logarithm of the sum of exp(scale score) is shift + log(sum)
};

// `value` in the place of whatever stands at keys that are not seen, and behind the last one.
template <class Number>
inline void hide(Number* row, const KeyRange& keys, SeenKeys seen, Number value) {
  fill_padding(row, keys.count, keys.length, value);
  std::fill(row, row + seen.begin, value);
  std::fill(row + seen.end, row + keys.count, value);
}

// One row of scores becomes exp(scale score - shift), 0 at hidden keys and almost 0 behind the last one.
inline Softened raise_row(float* scores, const KeyRange& keys, SeenKeys seen, float scale) {
  const int64_t length = keys.length;
  hide(scores, keys, seen, kHidden);
  const float shift = highest_of(scores, length) * scale;
#pragma omp simd
  for (int64_t c = 0; c < length; c++) scores[c] = fast_exp(scores[c] * scale - shift);
  if (!seen.all(keys)) hide(scores, keys, seen, 0.0f);
  return {shift, sum_of(scores, length)};
}

// What `raise_row` gave becomes dropped probabilities, 0 behind the last key. Two passes over the rows of a strip, because each
// has to wait for its sum, and a processor can wait for several at once.
template <class Stored>
inline void weigh_row(const float* powers, float inverse, const KeyRange& keys, DropoutStream stream, uint32_t place,
                      Stored* probabilities) {
  const int64_t length = keys.length;
  if (stream.active()) {
#pragma omp simd
    for (int64_t c = 0; c < length; c++)
      probabilities[c] = from_float<Stored>(stream.drop(powers[c] * inverse, place + uint32_t(c)));
  } else {
#pragma omp simd
    for (int64_t c = 0; c < length; c++) probabilities[c] = from_float<Stored>(powers[c] * inverse);
  }
  fill_padding(probabilities, keys.count, length, from_float<Stored>(0.0f));
}

// The place of a query's first key in the dropout stream of its head.
inline uint32_t place_of(const KeyRange& keys, int64_t query) {
  return uint32_t(query * round_up(keys.total, 16) + keys.first);
}

// context (tokens, size), rows `context_stride` apart; log_sums (tokens,), `heads` apart, or null where nothing goes
// backward.
template <class Stored>
inline void attend(const HeadInputs<Stored>& head, Stored* context, int64_t context_stride, float* log_sums, int64_t heads,
                   AttentionBuffers<Stored>& buffers) {
  const int64_t wide = round_up(head.size, 16);
  pack_transposed(head.key, head.stride, head.size, head.tokens, buffers.keys.data());
  pack(head.value, head.stride, head.tokens, head.size, buffers.values.data());
  float* sums = buffers.scores.data();
  if (int64_t(buffers.tile.size()) < kStrip * wide) buffers.tile.resize(kStrip * wide);
  for (int64_t first = 0; first < head.tokens; first += kStrip) {
    const int64_t queries = std::min(kStrip, head.tokens - first);
    const KeyRange keys = keys_of(head, first, queries);
    score(head.query + first * head.stride, head.stride, queries, head.size, keys, buffers.keys.data(), sums);
    Softened rows[kStrip];
    for (int64_t r = 0; r < queries; r++)
      rows[r] = raise_row(sums + r * keys.length, keys, seen_by(head, keys, first + r), head.scale);
    for (int64_t r = 0; r < queries; r++)
      weigh_row(sums + r * keys.length, 1.0f / rows[r].sum, keys, head.stream, place_of(keys, first + r),
                buffers.probabilities.data() + r * keys.length);
    for (int64_t r = 0; log_sums && r < queries; r++) log_sums[(first + r) * heads] = rows[r].shift + std::log(rows[r].sum);
    combine(buffers.probabilities.data(), queries, keys, head.size, buffers.values.data(), buffers.tile.data());
    store_rows(buffers.tile.data(), queries, head.size, context + first * context_stride, context_stride);
  }
}

// One row of scores becomes its probabilities p, and the gradient of the dropped ones that of p; returns their product.
template <class Stored>
inline float recall_row(float* scores, float* given, const KeyRange& keys, SeenKeys seen, float scale, float log_sum,
                        DropoutStream stream, uint32_t place, Stored* probabilities) {
  const int64_t length = keys.length;
  hide(scores, keys, seen, kHidden);
#pragma omp simd
  for (int64_t c = 0; c < length; c++) {
    const float p = fast_exp(scores[c] * scale - log_sum), kept = stream.drop(1.0f, place + uint32_t(c));
    probabilities[c] = from_float<Stored>(p * kept);
    scores[c] = p;
    given[c] *= kept;
  }
  hide(probabilities, keys, seen, from_float<Stored>(0.0f));
  if (!seen.all(keys)) hide(scores, keys, seen, 0.0f);
  return dot_of(scores, given, length);
}

// Behind it, the gradient of the row's scores: p (g - sum(g p)) scale.
template <class Stored>
inline void differentiate_row(const float* p, const float* given, float product, const KeyRange& keys, float scale,
                              Stored* score_gradient) {
#pragma omp simd
  for (int64_t c = 0; c < keys.length; c++) score_gradient[c] = from_float<Stored>(p[c] * (given[c] - product) * scale);
  fill_padding(score_gradient, keys.count, keys.length, from_float<Stored>(0.0f));
}

template <class Stored>
struct HeadGradients {
  Stored* query;
  Stored* key;
  Stored* value;  // rows as far apart as those of HeadInputs
};

// Gradients of a strip's queries, and what they add to those of keys and values: scores and probabilities are computed again.
template <class Stored>
inline void attend_strip_backward(const HeadInputs<Stored>& head, int64_t first, const Stored* given, int64_t given_stride,
                                  const float* log_sums, int64_t heads, HeadGradients<Stored> gradients, Into into,
                                  AttentionBuffers<Stored>& buffers) {
  const int64_t size = head.size, queries = std::min(kStrip, head.tokens - first);
  const KeyRange keys = keys_of(head, first, queries);
  const Stored *query = head.query + first * head.stride, *given_rows = given + first * given_stride;
  pack(query, head.stride, queries, size, buffers.queries.data());
  pack(given_rows, given_stride, queries, size, buffers.given.data());
  float *scores = buffers.scores.data(), *weights = buffers.weights.data();
  score(query, head.stride, queries, size, keys, buffers.keys_across.data(), scores);
  score(given_rows, given_stride, queries, size, keys, buffers.values.data(), weights);
  float products[kStrip];
  for (int64_t r = 0; r < queries; r++)
    products[r] = recall_row(scores + r * keys.length, weights + r * keys.length, keys, seen_by(head, keys, first + r),
                             head.scale, log_sums[(first + r) * heads], head.stream, place_of(keys, first + r),
                             buffers.probabilities.data() + r * keys.length);
  for (int64_t r = 0; r < queries; r++)
    differentiate_row(scores + r * keys.length, weights + r * keys.length, products[r], keys, head.scale,
                      buffers.score_gradient.data() + r * keys.length);
  combine(buffers.score_gradient.data(), queries, keys, size, buffers.keys.data(), buffers.tile.data());
  store_rows(buffers.tile.data(), queries, size, gradients.query + first * head.stride, head.stride);
  Stored* turned = buffers.turned.data();
  const int64_t from = keys.first * round_up(size, 16);
  lay_across(buffers.score_gradient.data(), keys.length, queries, keys.count, turned, even(queries), 0, 2);
  combine_across(turned, keys.count, queries, size, buffers.queries.data(), buffers.key_gradient.data() + from, into);
  lay_across(buffers.probabilities.data(), keys.length, queries, keys.count, turned, even(queries), 0, 2);
  combine_across(turned, keys.count, queries, size, buffers.given.data(), buffers.value_gradient.data() + from, into);
}

// From the context's gradient `given`, rows `given_stride` apart, to those of queries, keys and values.
template <class Stored>
inline void attend_backward(const HeadInputs<Stored>& head, const Stored* given, int64_t given_stride, const float* log_sums,
                            int64_t heads, HeadGradients<Stored> gradients, AttentionBuffers<Stored>& buffers) {
  const int64_t tokens = head.tokens, size = head.size, wide = round_up(size, 16);
  pack_transposed(head.key, head.stride, size, tokens, buffers.keys_across.data());
  pack_transposed(head.value, head.stride, size, tokens, buffers.values.data());
  pack(head.key, head.stride, tokens, size, buffers.keys.data());
  if (int64_t(buffers.tile.size()) < kStrip * wide) buffers.tile.resize(kStrip * wide);
  for (auto* sums : {&buffers.key_gradient, &buffers.value_gradient})
    if (head.windowed()) std::fill(sums->begin(), sums->begin() + tokens * wide, 0.0f);  // no strip sees all keys
  for (int64_t first = 0; first < tokens; first += kStrip)
    attend_strip_backward(head, first, given, given_stride, log_sums, heads, gradients,
                          first > 0 || head.windowed() ? Into::kOnto : Into::kOver, buffers);
  store_rows(buffers.key_gradient.data(), tokens, size, gradients.key, head.stride);
  store_rows(buffers.value_gradient.data(), tokens, size, gradients.value, head.stride);
}

}  // namespace encoder
