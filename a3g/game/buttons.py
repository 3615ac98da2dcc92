"""The buttons of the console's controller, as bits in the order in which the controller shifts them out."""

BUTTON_A, BUTTON_B, BUTTON_SELECT, BUTTON_START, BUTTON_UP, BUTTON_DOWN, BUTTON_LEFT, BUTTON_RIGHT = (
    1 << bit for bit in range(8)
)
