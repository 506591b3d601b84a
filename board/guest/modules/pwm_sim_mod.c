/* A PWM chip of two channels behind the kernel's PWM core and its sysfs, for want of one in the kernel's sources. It does
 * what any driver does, but has no pin: what it was told is in /sys/kernel/debug/pwm. Parameter `wait` is how many
 * milliseconds each of its answers takes, as behind a bus that is stuck. */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/pwm.h>

static unsigned int wait;
module_param(wait, uint, 0644);

static int apply(struct pwm_chip *chip, struct pwm_device *pwm, const struct pwm_state *state)
{
	unsigned int left;

	for (left = wait; left && wait; left -= min(left, 10u))
		msleep(10);
	return 0;
}

static const struct pwm_ops ops = { .apply = apply, .owner = THIS_MODULE };
static struct pwm_chip chip = { .ops = &ops, .npwm = 2 };
static struct platform_device *device;

static int __init start(void)
{
	int answer;

	device = platform_device_register_simple("pwm-sim", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	chip.dev = &device->dev;
	answer = pwmchip_add(&chip);
	if (answer)
		platform_device_unregister(device);
	return answer;
}

static void __exit stop(void)
{
	pwmchip_remove(&chip);
	platform_device_unregister(device);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
