/* What CUDA's error codes mean to somebody who wants to train, with what to do about it where that
 * is not for a programmer. */
#include "device.cuh"

extern "C" const char *sc_cuda_error_text(int error)
{
    switch (static_cast<cudaError_t>(error)) {
    case cudaErrorMemoryAllocation:
        return "out of memory; lower batch_size, or take --jobs-per-gpu 1 or --data-on-gpu off "
               "(nvidia-smi shows who else uses the GPU)";
    case cudaErrorDevicesUnavailable:
        return "the GPU is in use and lets in one process only; free it, or name another by --gpus";
    case cudaErrorNoDevice:
        return "no GPU is seen; look at nvidia-smi and CUDA_VISIBLE_DEVICES, and under Slurm at "
               "--gres=gpu:N";
    case cudaErrorNoKernelImageForDevice:
        return "this build has no code for this GPU; it runs on sm_80 and newer";
    case cudaErrorECCUncorrectable:
        return "the GPU's memory has an error that cannot be corrected; start the same command on "
               "another GPU, it goes on from the checkpoint, and have this one looked at";
    case cudaErrorSystemNotReady:
        return "the driver is not ready; on machines with NVSwitch the fabric manager has to run";
    case cudaErrorSystemDriverMismatch:
        return "the driver and its libraries differ in version; after an update the machine has to "
               "be started again";
    default:
        return cudaGetErrorString(static_cast<cudaError_t>(error));
    }
}
