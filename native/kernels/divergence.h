// A divergence between the softmaxes of two rows of logits, for every row, and its gradient with respect to the student's logits.
//
//   value[row] = factor * D(softmax(teacher / T), softmax(student / T))
//   dstudent   = dvalue[row] * factor / T * (c p_s (g - sum p_s g) + direct)       formulae in common/divergenceMath.h
//
// -inf marks a class that is masked. factor is 1, or T squared.
#pragma once
#include "common/kernel.h"

namespace lantern {

constexpr int64_t kDivergenceStats = 8;  // floats per row that the backward needs: constants of both softmaxes, and sums over the row

struct DivergenceParams {
  const void* student;  // [rows, vocab], studentDtype
  const void* teacher;  // [rows, vocab], teacherDtype
  float* value;         // [rows]
  float* stats;         // [rows, 8]; may be null
  int64_t rows, vocab, studentDtype, teacherDtype, kind;
  double temperature, beta, factor;
};
LANTERN_PARAMS(DivergenceParams, student, teacher, value, stats, rows, vocab, studentDtype, teacherDtype, kind, temperature, beta, factor)

struct DivergenceBackwardParams {
  const void* student;  // [rows, vocab], studentDtype
  const void* teacher;  // [rows, vocab], teacherDtype
  const float* dvalue;  // [rows]
  const float* stats;   // [rows, 8], from the forward
  void* dstudent;       // [rows, vocab], studentDtype
  int64_t rows, vocab, studentDtype, teacherDtype, kind;
  double temperature, beta, factor;
};
LANTERN_PARAMS(DivergenceBackwardParams, student, teacher, dvalue, stats, dstudent, rows, vocab, studentDtype, teacherDtype, kind, temperature,
               beta, factor)

}  // namespace lantern
