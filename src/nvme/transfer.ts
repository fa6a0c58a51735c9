/** What the IC exchange settled; enough for another thread to go on with the connection. */
export interface TransferParameters {
  /** Most bytes in one H2CData PDU. */
  readonly maxH2cDataBytes: number;
  /** Alignment of data in PDUs to the controller, in bytes. */
  readonly dataAlignment: number;
}
