/* Measures, calibrates and predicts through include/segcal.h; run by tests/program.rs, which compares what it prints. */
#include "segcal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void check(enum SegcalStatus status, const char *what) {
    char text[512];
    if (status == SEGCAL_STATUS_OK) return;
    segcal_error(text, sizeof text);
    fprintf(stderr, "%s: %s\n", what, text);
    exit(1);
}

/* Two classes on 1 x 8 x 8 pixels: the prediction lies one pixel beside the reference. */
static void measure(void) {
    float scores[2 * 64];
    uint16_t labels[64];
    for (int i = 0; i < 64; i++) {
        int x = i % 8, row = i / 8 >= 2 && i / 8 < 6;
        labels[i] = row && x >= 2 && x < 6;
        scores[64 + i] = row && x >= 3 && x < 7 ? 0.875f : 0.25f;
        scores[i] = 1 - scores[64 + i];
    }
    struct SegcalGrid grid = {{1, 8, 8}, {3, 0.5, 0.5}};
    struct SegcalOptions options = segcal_options();
    struct SegcalFigures *figures = NULL;
    double dsc, ece;
    char text[512];
    check(segcal_measure(SEGCAL_SCORES_PROBABILITIES, scores, 2, labels, &grid, &options, &figures), "measure");
    check(segcal_figure(figures, "1", "dsc", &dsc), "dsc");
    check(segcal_figure(figures, "all", "ece", &ece), "ece");
    printf("dsc %.17g ece %.17g json %d\n", dsc, ece, segcal_figures_json(figures, NULL, 0) > 100);
    /* Mistakes are statuses with a text, never the end of the program. */
    scores[5] = NAN;
    struct SegcalFigures *none = NULL;
    printf("nan %d", segcal_measure(SEGCAL_SCORES_PROBABILITIES, scores, 2, labels, &grid, NULL, &none));
    printf(" kind %d", segcal_measure(7, scores, 2, labels, &grid, NULL, &none));
    printf(" null %d", segcal_measure(SEGCAL_SCORES_LOGITS, NULL, 2, labels, &grid, NULL, &none));
    printf(" metric %d %d", segcal_figure(figures, "1", "dscc", &dsc), none == NULL);
    segcal_error(text, sizeof text);
    printf(" (%.29s)\n", text);
    segcal_figures_free(figures);
    segcal_figures_free(NULL);
}

static void calibrate(const char *path) {
    float scores[6] = {2, 0, -1, 0, 1, 3};
    struct SegcalMap *map = NULL;
    check(segcal_map_read(path, &map), "map");
    check(segcal_map_apply(map, SEGCAL_SCORES_LOGITS, scores, 3, scores), "apply");
    printf("classes %zu:", segcal_map_classes(map));
    for (int i = 0; i < 6; i++) printf(" %.9g", scores[i]);
    printf("\n");
    segcal_map_free(map);
}

static void predict(const char *run) {
    struct SegcalGrid grid = {{2, 16, 16}, {1, 1, 1}};
    struct SegcalModel *model = NULL;
    check(segcal_model_open(run, &model), "model");
    size_t classes = segcal_model_classes(model), voxels = 2 * 16 * 16;
    float *image = malloc(segcal_model_channels(model) * voxels * sizeof *image);
    float *probabilities = malloc(classes * voxels * sizeof *probabilities);
    for (size_t i = 0; i < segcal_model_channels(model) * voxels; i++) image[i] = (float)(i % 37);
    check(segcal_model_predict(model, image, &grid, probabilities), "predict");
    printf("%zu classes:", classes);
    for (size_t k = 0; k < classes; k++) printf(" %.9g", probabilities[k * voxels + 300]);
    printf("\n");
    free(image);
    free(probabilities);
    segcal_model_free(model);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    measure();
    calibrate(argv[1]);
    predict(argv[2]);
    return 0;
}
