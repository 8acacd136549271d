"""joblib: the programs that use it, scikit-learn among them, run on muster by one `with`."""

import joblib
import numpy as np

import muster.joblib  # noqa: F401  (registers the backend)


def distances(points, center):
    return np.linalg.norm(points - center, axis=1).mean()


def main():
    points = np.random.default_rng(1).normal(size=(100_000, 3))
    centers = [np.full(3, offset) for offset in range(4)]
    with joblib.parallel_config(backend="muster", n_jobs=2):
        means = joblib.Parallel()(joblib.delayed(distances)(points, center) for center in centers)
    print([round(float(mean), 2) for mean in means])


if __name__ == "__main__":
    main()
