/** The control sequences of ublk devices: what the host drives. */
export * from "./control_step.ts";
export * from "./create_device.ts";
export * from "./device.ts";
export { CONTROL_PATH, probeFeatures } from "./features.ts";
export { stepWords } from "./control_error.ts";
export { decodeDeviceInfo } from "./device_info.ts";
export { destroyDevice, type DestroyOptions } from "./retire_device.ts";
export { resizeDevice } from "./resize_device.ts";
export * from "./stale_device.ts";
