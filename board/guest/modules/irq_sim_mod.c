/* The kernel's simulated interrupts, which it only knows built in, as a module. The kernel's own file is included
 * and is GPL-2, so is what comes out; it serves the test and goes nowhere else. */
#include <linux/irq.h>
#include <linux/module.h>

/* irq_to_desc() is not exported to modules; the way round through the irq's data is. */
#define irq_to_desc(irq) irq_data_to_desc(irq_get_irq_data(irq))
#include "irq_sim.c"

MODULE_LICENSE("GPL");
