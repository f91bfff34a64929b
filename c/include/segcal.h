/* segcal from C: metrics of one case, calibration maps, prediction. Licence: MIT OR Apache-2.0.
 *
 * A function that can fail returns a SegcalStatus and writes its result through a pointer; segcal_error gives the text of
 * the last failure of the calling thread. Handles are opaque, are freed by the function of their name, and may be used
 * by several threads at once. Arrays are contiguous, the last axis fastest. */

#ifndef SEGCAL_H
#define SEGCAL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// What a call came to.
typedef enum SegcalStatus {
  // The result was written.
  SEGCAL_STATUS_OK = 0,
  // An argument or a file is not what it should be; nothing was written. The text names it and the remedy.
  SEGCAL_STATUS_ERROR = 1,
  // A defect of the library; nothing was written.
  SEGCAL_STATUS_DEFECT = 2,
} SegcalStatus;

// What class scores are: the values of a parameter `kind`.
typedef enum SegcalScores {
  // Probabilities: not negative, of sum 1 over the classes.
  SEGCAL_SCORES_PROBABILITIES = 0,
  // Logits: any finite numbers, of which a softmax makes probabilities.
  SEGCAL_SCORES_LOGITS = 1,
} SegcalScores;

// The figures of one case.
typedef struct SegcalFigures SegcalFigures;

// A fitted map.
typedef struct SegcalMap SegcalMap;

// A trained network with its weights, on the processor.
typedef struct SegcalModel SegcalModel;

// How a case is measured; `segcal_options` gives the defaults.
typedef struct SegcalOptions {
  // Number of bins of the calibration errors.
  size_t bins;
  // Tolerance of the normalised surface distance, in mm.
  double tolerance_mm;
  // Half-width of the regions near boundaries, in mm.
  double band_mm;
  // The reference label of voxels that are in no figure; -1 where there is none.
  int32_t ignored;
} SegcalOptions;

// Voxels of a volume; an image of two dimensions has one plane.
typedef struct SegcalGrid {
  // Number of planes, rows and columns.
  size_t extent[3];
  // Their distances in mm.
  double spacing[3];
} SegcalGrid;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Copies the text of the calling thread's last failure, as UTF-8 with a final 0, cut to `capacity` bytes, and returns
// its length without the 0. `text` may be null where `capacity` is 0.
//
// # Safety
// `text` points to `capacity` bytes.
size_t segcal_error(char *text,
                    size_t capacity);

// Reads a file of `segcal calibrate fit`: temperature, vector, Platt or isotonic.
//
// # Safety
// `path` ends with a 0, `map` can be written.
enum SegcalStatus segcal_map_read(const char *path, struct SegcalMap **map);

// Number of classes of a map; 0 where `map` is null.
//
// # Safety
// The handle is alive.
size_t segcal_map_classes(const struct SegcalMap *map);

// Writes the calibrated probabilities of scores `[classes, voxels]` into an array of the same shape, which may be that of
// the scores.
//
// # Safety
// The handle is alive, both arrays have `classes` (of the map) times `voxels` values.
enum SegcalStatus segcal_map_apply(const struct SegcalMap *map,
                                   int32_t kind,
                                   const float *scores,
                                   size_t voxels,
                                   float *probabilities);

// Frees a map; null is nothing.
//
// # Safety
// The handle is not used again.
void segcal_map_free(struct SegcalMap *map);

// The default options: 15 bins, 1 mm, 2 mm, no ignored label.
struct SegcalOptions segcal_options(void);

// Measures class scores `[classes, planes, rows, columns]` against labels `[planes, rows, columns]`: overlap, distances
// and calibration. `options` may be null. What each figure is: `segcal list metrics`.
//
// # Safety
// The arrays have the lengths that `classes` and `grid` say; `figures` can be written.
enum SegcalStatus segcal_measure(int32_t kind,
                                 const float *scores,
                                 size_t classes,
                                 const uint16_t *labels,
                                 const struct SegcalGrid *grid,
                                 const struct SegcalOptions *options,
                                 struct SegcalFigures **figures);

// One figure: `metric` of a structure (`"1"`, `"2"`, ...) or of a region (`"all"`, `"predicted"`, ...). NaN where
// an empty mask leaves the formula without a value.
//
// # Safety
// The handle is alive, the texts end with a 0, `value` can be written.
enum SegcalStatus segcal_figure(const struct SegcalFigures *figures,
                                const char *of,
                                const char *metric,
                                double *value);

// Copies all figures as a JSON object of `structures` and `regions`, cut to `capacity` bytes, with a final 0, and returns
// its length without the 0. `text` may be null where `capacity` is 0. Returns 0 where `figures` is null.
//
// # Safety
// The handle is alive, `text` points to `capacity` bytes.
size_t segcal_figures_json(const struct SegcalFigures *figures,
                           char *text,
                           size_t capacity);

// Frees figures; null is nothing.
//
// # Safety
// The handle is not used again.
void segcal_figures_free(struct SegcalFigures *figures);

// Opens the folder of a run of `segcal train` with its best weights.
//
// # Safety
// `run` ends with a 0, `model` can be written.
enum SegcalStatus segcal_model_open(const char *run, struct SegcalModel **model);

// Number of channels of its images; 0 where `model` is null.
//
// # Safety
// The handle is alive.
size_t segcal_model_channels(const struct SegcalModel *model);

// Number of its classes, the background included; 0 where `model` is null.
//
// # Safety
// The handle is alive.
size_t segcal_model_classes(const struct SegcalModel *model);

// Writes the class probabilities `[classes, planes, rows, columns]` of an image `[channels, planes, rows, columns]` with the
// intensities of its file: the bits that `segcal predict` writes.
//
// # Safety
// The handle is alive, the arrays have as many values as channels, classes and `grid` say.
enum SegcalStatus segcal_model_predict(const struct SegcalModel *model,
                                       const float *image,
                                       const struct SegcalGrid *grid,
                                       float *probabilities);

// Frees a model; null is nothing.
//
// # Safety
// The handle is not used again.
void segcal_model_free(struct SegcalModel *model);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SEGCAL_H */
